package interop

// Impossible are the encounters that cannot be, because one of the two programs has
// not got what the other one would be asked for: said here, so that nobody takes them
// for forgotten.
func Impossible() []Row {
	const uclient, pionTurn, ours = "turnutils_uclient", "pion/turn's client", "p2pmodel relay"
	never := func(client, server, over, tried, why string) Row {
		return Row{Client: client, Server: server, Over: over, Tried: tried, Verdict: Never, Reason: why}
	}
	return []Row{
		never(uclient, ours, "UDP", "a wrong realm", "it has no flag for one: it takes the challenge's"),
		never(uclient, ours, "SCTP", "-b", "the relay has no SCTP"),
		never(uclient, ours, "DTLS", "-S without -t", "the relay has no DTLS: TLS over TCP serves networks that let nothing else out"),
		never(uclient, ours, "UDP", "-J: OAuth (RFC 7635)", "the relay has no third-party authorization; time-limited credentials serve for it"),
		never(pionTurn, ours, "UDP", "mobility (RFC 8016)", "it asks for no ticket"),
		never(pionTurn, ours, "UDP", "both families at once", "it asks for one family"),
		never(pionTurn, ours, "UDP", "a wrong realm", "it takes the challenge's, whatever it was told"),
		never("p2pmodel's client", "pion/turn's server", "UDP", "mobility (RFC 8016)", "it gives no tickets"),
		never("p2pmodel's client", "pion/turn's server", "UDP", "both families at once", "it does not know ADDITIONAL-ADDRESS-FAMILY"),
		never("p2pmodel ice", "aioice", "UDP", "ICE restart, renomination, lite", "it has none of them"),
	}
}
