// Package packet moves UDP datagrams as fast as Linux lets one thread: many messages
// a system call, and many datagrams a message (UDP_SEGMENT and UDP_GRO). It is written
// for measuring, shares no code with what is measured, and speaks IPv4 only.
package packet
