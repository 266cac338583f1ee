// Package kernel builds labs out of Linux network namespaces: each node is a
// namespace, each link a pair of virtual interfaces, each NAT a set of nftables
// rules. Everything is made over netlink; no ip, nft or tc is run.
//
// Nothing of a lab outlives the process that built it, and nothing of it has a
// name that another lab could clash with: namespaces are held by descriptors
// alone, and programs run in PID namespaces whose first process dies with us.
// Any number of labs can stand at once.
//
// A binary that uses the package calls Init first of all, since it starts
// itself anew to be that first process. Without root's privileges it may call
// Enter, which runs it in a user namespace; Doctor says what a machine lacks.
package kernel
