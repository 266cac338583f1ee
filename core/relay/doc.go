// Package relay is TURN (RFC 8656, and what RFC 5766 clients expect) with RFC 8016
// mobility, as two sans-IO machines.
//
// Server is a whole machine of package sansio: it owns a listening socket for UDP,
// on demand ones for TCP and TLS, and a relayed UDP socket for each allocation and
// family. Client owns no socket: whoever holds one (package peer) feeds it the
// datagrams of that socket and sends what it gives back, so that the relayed path
// shares the NAT mapping of all others.
//
// To those who have not proved who they are the server sends no more bytes over UDP
// than came from them, and keeps nothing about them but a sum in a table of fixed
// size. RFC 6062 connections are left out: what is relayed is UDP.
package relay
