// Checks of the simulated Slicer daemon with Slicer's own Go SDK.
module slicer-cloud-provider/tests/e2e/slicer-sdk

go 1.25.0

require github.com/slicervm/sdk v0.0.67
