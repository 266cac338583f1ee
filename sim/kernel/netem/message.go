//go:build linux

package netem

import (
	"encoding/binary"
	"math"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"p2pmodel/sim/link"
)

// What linux/pkt_sched.h has and the library does not.
const (
	netemLatency64 = 10 // TCA_NETEM_LATENCY64
	netemJitter64  = 11 // TCA_NETEM_JITTER64
	netemSeed      = 14 // TCA_NETEM_PRNG_SEED, from Linux 6.7 on
	netemLossGE    = 2  // NETEM_LOSS_GE
	stabBase       = 1  // TCA_STAB_BASE
	layerEthernet  = 1  // TC_LINKLAYER_ETHERNET

	// distScale is one standard deviation in a table of a distribution.
	distScale = 8192
	tableSize = 4096

	headerSize = 14   // Ethernet's
	frameSize  = 1514 // the largest
	// packetLimit is netem's own queue: all that is on its way.
	packetLimit = 1 << 20
)

// The handles of the two disciplines.
var (
	rootHandle = netlink.MakeHandle(1, 0)
	rateHandle = netlink.MakeHandle(2, 0)
)

// scaled is a probability as the kernel has it.
func scaled(p float64) uint32 { return uint32(math.Round(p * math.MaxUint32)) }

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// netemOptions are netem's options for an impairment. All are given each time, for
// what is left out stays as it was.
func netemOptions(i link.Impairment, seed uint64) *nl.RtAttr {
	opt := nl.TcNetemQopt{Limit: packetLimit, Loss: scaled(i.Loss), Duplicate: scaled(i.Duplicate)}
	if i.Overtake.Share > 0 {
		opt.Gap = uint32(max(i.Overtake.Gap, 1))
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, opt.Serialize())
	options.AddRtAttr(netemLatency64, nl.Uint64Attr(uint64(i.Delay)))
	options.AddRtAttr(netemJitter64, nl.Uint64Attr(uint64(i.Jitter)))
	options.AddRtAttr(nl.TCA_NETEM_CORR, words(0, 0, 0))
	options.AddRtAttr(nl.TCA_NETEM_REORDER, words(scaled(i.Overtake.Share), 0))
	options.AddRtAttr(nl.TCA_NETEM_CORRUPT, words(scaled(i.Corrupt), 0))
	if b := i.Burst; b != (link.Burst{}) {
		loss := options.AddRtAttr(nl.TCA_NETEM_LOSS|unix.NLA_F_NESTED, nil)
		loss.AddRtAttr(netemLossGE, words(scaled(b.P), scaled(b.R), scaled(1-b.Bad), scaled(b.Good)))
	}
	if i.Jitter > 0 {
		options.AddRtAttr(nl.TCA_NETEM_DELAY_DIST, table(i.Distribution))
	}
	options.AddRtAttr(netemSeed, nl.Uint64Attr(seed))
	return options
}

// table is a distribution as netem draws from it: the values at equal steps of
// probability, in parts of the jitter.
func table(d link.Distribution) []byte {
	b := make([]byte, 0, 2*tableSize)
	for n := range tableSize {
		p := (float64(n) + .5) / tableSize
		x := 2*p - 1
		if d == link.Normal {
			x = math.Sqrt2 * math.Erfinv(2*p-1)
		}
		b = binary.NativeEndian.AppendUint16(b, uint16(int16(math.Round(min(max(x*distScale, math.MinInt16), math.MaxInt16)))))
	}
	return b
}

// tbfOptions are the options of the rate. One packet of full size may pass at once.
func tbfOptions(i link.Impairment) *nl.RtAttr {
	bytes := i.Rate / 8
	opt := nl.TcTbfQopt{Limit: uint32(i.QueueSize()), Rate: nl.TcRateSpec{Linklayer: layerEthernet, Rate: uint32(min(bytes, math.MaxUint32))}}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, opt.Serialize())
	if bytes > math.MaxUint32 {
		options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(bytes))
	}
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(frameSize))
	return options
}

// sizeTable makes the disciplines count packets from their IP header on, as the model
// does: struct tc_sizespec without a table, and an overhead below zero. The root
// has it for both, and loses it with a change that leaves it out.
func sizeTable() *nl.RtAttr {
	spec := make([]byte, 24)
	overhead := int32(-headerSize)
	binary.NativeEndian.PutUint32(spec[4:], uint32(overhead))
	stab := nl.NewRtAttr(nl.TCA_STAB|unix.NLA_F_NESTED, nil)
	stab.AddRtAttr(stabBase, spec)
	return stab
}
