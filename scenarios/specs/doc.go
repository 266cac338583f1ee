// Package specs is the main job: the catalogue of scenarios as Ginkgo specs, one
// spec a scenario with all its controls. `make scenarios` runs it; `ginkgo -p`
// and plain `go test` do, too.
package specs
