// The database behind the control plane.
module slicer-cloud-provider/tests/e2e/etcd

go 1.26

tool go.etcd.io/etcd/server/v3

require go.etcd.io/etcd/server/v3 v3.6.16
