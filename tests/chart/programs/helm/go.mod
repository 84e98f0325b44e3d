// Helm, for the tests of the chart.
module slicer-cloud-provider/tests/chart/helm

go 1.26

tool helm.sh/helm/v4/cmd/helm

require helm.sh/helm/v4 v4.3.1
