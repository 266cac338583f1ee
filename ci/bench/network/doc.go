// Package network is the laboratory of a measurement: two network namespaces with one
// veth pair between them, the load's and that of the system under test. Nothing of it
// has a name outside of the process, and it is gone with it.
package network
