// Package rendezvous is where peers find each other: a STUN server with NAT
// behaviour discovery (RFC 8489, RFC 5780, and RFC 3489 for old clients) that
// also registers peers, introduces them to each other and keeps rooms, all by
// authenticated STUN-framed messages.
//
// Server is a sansio.Machine. Client is not: it shares the one socket of the
// machine that embeds it, because what the rendezvous sees of that socket is
// what other peers will punch to. Discovery is a machine with sockets of its
// own, since measuring a NAT's filtering spoils a socket for anything else.
//
// The rendezvous knows peers by their public keys and proves itself by its own;
// messages are authenticated under a key that both derive from the two. It
// carries opaque offers, no payload; it does not relay or punch. Who may talk to
// whom is decided by others, if by anybody: they sign tickets, which a Server can
// be made to ask for (ServerConfig.Admission).
package rendezvous
