// Package relay is TURN over UDP (RFC 8656, and what RFC 5766 clients expect)
// as two sans-IO machines.
//
// Server is a whole machine of package sansio: it owns a listening socket and
// one relayed socket for each allocation. Client owns no socket: whoever holds
// one (package peer) feeds it the datagrams of that socket and sends what it
// gives back, so that the relayed path shares the NAT mapping of all others.
//
// The package relays UDP over UDP between IPv4 transport addresses. It does
// not do TCP or TLS towards clients, RFC 6062 connections or RFC 8016 mobility
// tickets.
package relay
