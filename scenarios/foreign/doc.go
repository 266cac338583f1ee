// Package foreign has no code, only tests: programs that other people wrote
// judge ours, in labs of real namespaces with real NATs between them.
//
//   - coturn's turnutils_natdiscovery and Debian's stun client stand behind each
//     preset and kind of NAT, ask our rendezvous and coturn's turnserver, and have
//     to find what the lab declares. They share no code with the laboratory: that
//     the model, the kernel's rules and our own measurement agree could be one
//     mistake made three times.
//   - coturn's turnutils_uclient and turnutils_peer move data through our relay.
//   - pion/ice and aioice are the other side of p2pmodel ice, our ICE agent: in both
//     roles, over pairs of NATs, with our servers and with coturn's, through restarts
//     and the end of consent. make interop plays the whole table and prints it.
//   - The binary p2pmodel runs on hosts as any program would, is killed and
//     restarted, and is judged by the wires.
//
// What the judges cannot tell apart is written beside the tests, with the reason.
//
// The judges are programs of Debian and Ubuntu: apt-get install coturn
// stun-client python3-aioice; pion-ice and pion-turn are modules beside them. Where one is missing, its tests are skipped, and the last line of
// the run says which were left out. With P2PMODEL_JUDGES=require in the
// environment, what cannot be judged is a failure.
package foreign
