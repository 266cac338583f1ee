package link

import "time"

// Reason is why a packet was lost.
type Reason uint8

// The reasons. Cut is no impairment but a matter of the fabric, and Corrupt loses
// a packet at its receiver only; both are here so that all drops of a link have
// one set of names.
const (
	None     Reason = iota // it was not lost
	Loss                   // it fell to Impairment.Loss
	Bursty                 // it fell to Impairment.Burst
	Queue                  // the queue of a link with a Rate or Trace was full
	TooLarge               // it was larger than the MTU of a link that says nothing
	Cut                    // the link was cut
	Corrupt                // a bit of it was flipped; it arrives, and the receiver will drop it

	// Reasons is how many there are.
	Reasons = iota
)

var reasonNames = [Reasons]string{"none", "loss", "burst", "queue", "mtu", "cut", "corrupt"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// Counts count the packets of one direction of a link. Without per-packet
// impairments a segment of offload, which stands for many, counts as one.
type Counts struct {
	Offered   uint64 // entered
	Delivered uint64 // came out, copies included
	Bytes     uint64 // of the delivered, from the IP header on
	// By counts packets by reason; those of Corrupt are among the delivered.
	By         [Reasons]uint64
	Duplicated uint64 // copies made
	Overtook   uint64 // sent past others by Impairment.Overtake
}

// Lost is how many packets did not come out.
func (c Counts) Lost() uint64 {
	var n uint64
	for r, count := range c.By {
		if Reason(r) != None && Reason(r) != Corrupt {
			n += count
		}
	}
	return n
}

// HeadSize is how much of a packet a Drop keeps, in bytes.
const HeadSize = 128

// Drop is one packet that a link lost or corrupted.
type Drop struct {
	At     time.Time // when it entered the link; for packets lost on their way to a cut, when they would have arrived
	Up     bool      // towards the Internet
	Reason Reason
	// Protocol is the EtherType of the frame, Size the packet's from there on, in
	// bytes, and Head its first HeadSize bytes, from the IP header on, as it was
	// before the link did anything to it.
	Protocol uint16
	Size     int
	Head     []byte
}
