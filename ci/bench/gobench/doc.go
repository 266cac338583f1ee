// Package gobench runs benchmarks of Go's testing package, as processes, and reads what they say: figures of packages
// and modules whose insides nobody else may see.
package gobench
