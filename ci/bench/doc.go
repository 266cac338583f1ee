// Command bench measures beside each other what does the same: systems of others and
// ours, in one laboratory and one run. `make bench` runs all of it.
//
//	bench relay     relays: ours, coturn, pion/turn, and forwarders as the ceiling
//	bench connect   connections behind pairs of NATs: ours, and pion/ice
//	bench lab       labs: ours, and the same ones by ip and nft
//	bench virtual   connections in virtual time, and pion/ice's on pion's vnet
//	bench agent     requests through an Agent, through NATS alone, within the process
//	bench go        benchmarks of packages, beside those of another commit
//	bench page      one page of all that was measured
package main
