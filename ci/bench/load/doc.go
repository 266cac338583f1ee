// Package load sends numbered datagrams through a system under test and hears what
// comes out of it, from one thread that never sleeps. It knows when it is itself what
// limits a measurement, and says so.
package load
