// Projects whose kinds the Helm chart makes objects of. Only the definitions of these kinds are taken, nothing is built.
module slicer-cloud-provider/tests/e2e/crds

go 1.24

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.92.1
)
