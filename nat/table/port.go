package table

import (
	"hash/fnv"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// allocate makes a mapping. It has no expiry until it is used.
func (t *Table) allocate(now time.Time, s *state, k key) (*mapping, Drop) {
	if len(s.taken) >= t.behavior.TableSize && (t.follower == nil || t.follower.full(now, s)) {
		if t.behavior.Full == nat.FullDrop {
			return nil, TableFull
		}
		s.evict()
	}
	external, ok := t.pick(now, s, k.inside)
	if !ok {
		return nil, Exhausted
	}
	return t.add(now, s, k, external), Passed
}

// pick chooses the external address and port of a new mapping.
func (t *Table) pick(now time.Time, s *state, inside netip.AddrPort) (netip.AddrPort, bool) {
	if t.follower != nil {
		return t.follower.choose(now, s, inside), true
	}
	if t.behavior.Pooling == nat.PoolPaired {
		return t.pickPort(now, s, t.paired(inside.Addr()), inside)
	}
	for range t.external {
		addr := t.external[s.nextAddr%len(t.external)]
		s.nextAddr++
		if external, ok := t.pickPort(now, s, addr, inside); ok {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// paired gives the external address of an inside address: always the same.
func (t *Table) paired(inside netip.Addr) netip.Addr {
	if t.pair != nil {
		return t.external[t.pair(inside, len(t.external))]
	}
	h := fnv.New32a()
	h.Write(inside.AsSlice())
	return t.external[int(h.Sum32()%uint32(len(t.external)))]
}

// pickPort chooses a port of the external address that is not taken.
func (t *Table) pickPort(now time.Time, s *state, addr netip.Addr, inside netip.AddrPort) (netip.AddrPort, bool) {
	b := t.behavior
	switch b.Ports {
	case nat.Random:
		return t.draw(s, addr, ports(b.Range, inside.Port(), b.Parity, 1))
	case nat.Block:
		block, ok := s.blocks.take(now, b, inside.Addr(), addr)
		if !ok {
			return netip.AddrPort{}, false
		}
		return t.draw(s, addr, ports(block.ports, inside.Port(), b.Parity, 1))
	case nat.Preserve:
		wanted := netip.AddrPortFrom(addr, inside.Port())
		if b.Range.Contains(inside.Port()) && s.taken[wanted] == nil {
			return wanted, true
		}
		if b.Fallback == nat.FallbackRandom {
			return t.draw(s, addr, ports(b.Range, inside.Port(), b.Parity, 1))
		}
	}
	counter := &s.next[0]
	if b.Parity == nat.ParityKeep {
		counter = &s.next[inside.Port()%2]
	}
	p := ports(b.Range, inside.Port(), b.Parity, b.Delta)
	for range p.count {
		external := netip.AddrPortFrom(addr, p.at(*counter))
		*counter = (*counter + 1) % p.count
		if s.taken[external] == nil {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// draw gives one of the ports that is not taken, each with equal chance: it
// draws until one comes up, and where few are left, walks on from the last draw
// to the next.
func (t *Table) draw(s *state, addr netip.Addr, p progression) (netip.AddrPort, bool) {
	if t.shadow != nil {
		return t.shadow.drawn(s, addr, p)
	}
	if p.count == 0 {
		return netip.AddrPort{}, false
	}
	last := 0
	for range 64 {
		last = t.rand.IntN(p.count)
		if external := netip.AddrPortFrom(addr, p.at(last)); s.taken[external] == nil {
			return external, true
		}
	}
	for i := range p.count {
		if external := netip.AddrPortFrom(addr, p.at((last+i)%p.count)); s.taken[external] == nil {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// progression is ports at equal distances.
type progression struct {
	first       uint16
	step, count int
}

func (p progression) at(i int) uint16 { return p.first + uint16(i*p.step) }

// ports are those of a range that an inside port may get, step by step from the
// low end. Where parity is kept, they begin with the first port of its parity,
// and the step is rounded up to an even one.
func ports(r nat.PortRange, inside uint16, parity nat.Parity, step int) progression {
	first := int(r.Low)
	if parity == nat.ParityKeep {
		step += step % 2
		first += (first + int(inside)) % 2
	}
	if first > int(r.High) {
		return progression{}
	}
	return progression{uint16(first), step, (int(r.High)-first)/step + 1}
}

// blocks are the blocks of ports that inside addresses have.
type blocks struct {
	owned map[owner]*block
	given map[netip.AddrPort]owner // by external address and first port
	next  int                      // the counter: the number of the next block to try
}

// owner is whom a block belongs to: an inside address, with one external
// address.
type owner struct{ inside, external netip.Addr }

type block struct {
	ports   nat.PortRange
	expires time.Time
}

// of gives the block that an inside address has, or nil.
func (b *blocks) of(now time.Time, inside, external netip.Addr) *block {
	if has := b.owned[owner{inside, external}]; has != nil && now.Before(has.expires) {
		return has
	}
	return nil
}

// take gives the block of an inside address, the next free one if it has none.
// A new block has to be used at once.
func (b *blocks) take(now time.Time, behavior nat.Behavior, inside, external netip.Addr) (*block, bool) {
	if has := b.of(now, inside, external); has != nil {
		return has, true
	}
	r, size := behavior.Range, behavior.Block
	count := r.Size() / size
	for range count {
		low := r.Low + uint16(b.next*size)
		b.next = (b.next + 1) % count
		at := netip.AddrPortFrom(external, low)
		if o, given := b.given[at]; given && b.of(now, o.inside, o.external) != nil {
			continue
		} else if given {
			delete(b.owned, o)
		}
		o := owner{inside, external}
		if old := b.owned[o]; old != nil {
			delete(b.given, netip.AddrPortFrom(external, old.ports.Low))
		}
		taken := &block{ports: nat.PortRange{Low: low, High: low + uint16(size-1)}}
		// It lives until the end of this instant, for the mapping that needs it.
		taken.expires = now.Add(1)
		if b.owned == nil {
			b.owned, b.given = make(map[owner]*block), make(map[netip.AddrPort]owner)
		}
		b.owned[o], b.given[at] = taken, o
		return taken, true
	}
	return nil, false
}
