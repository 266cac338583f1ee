package rendezvous

// Limits bound what sources and peers may cost the server. A zero field is its
// default.
type Limits struct {
	// Registrations in all, and from one address (an IPv6 /64 counts as one):
	// a carrier's NAT puts many peers behind one.
	Registrations          int
	RegistrationsPerSource int
	// Rooms in all; a peer may be in eight.
	Rooms int
	// Rate is how many requests a second an address (an IPv6 /64) may send, Burst how
	// many at once. What exceeds it is dropped without an answer. Sources are counted
	// in a table of fixed size, in which two may share a place.
	Rate, Burst float64
	// ErrorRate and ErrorBurst are the same for error responses.
	ErrorRate, ErrorBurst float64
}

const (
	defaultRegistrations          = 65536
	defaultRegistrationsPerSource = 1024
	defaultRooms                  = 4096
	defaultRate                   = 500
	defaultBurst                  = 1000
	defaultErrorRate              = 50
	defaultErrorBurst             = 100

	// maxIntroductions is how many introductions a peer may leave unanswered.
	maxIntroductions = 64
	// joinRate and joinBurst are how many a second, and at once, may enter rooms
	// from one address: each has up to 63 others told, several times.
	joinRate, joinBurst = 20, 256
	// maxRecent is how many of a peer's last introductions are recognised when
	// their request is retransmitted.
	maxRecent = 64
	// connectLife is how much older than the newest request a CONNECT may be, in
	// microseconds of its sender's clock.
	connectLife = 30e6
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.Registrations, defaultRegistrations},
		{&l.RegistrationsPerSource, defaultRegistrationsPerSource},
		{&l.Rooms, defaultRooms},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *float64
		value float64
	}{
		{&l.Rate, defaultRate}, {&l.Burst, defaultBurst},
		{&l.ErrorRate, defaultErrorRate}, {&l.ErrorBurst, defaultErrorBurst},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}
