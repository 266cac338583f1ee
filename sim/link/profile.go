package link

import (
	"time"

	"p2pmodel/nat"
)

// Profile is a kind of link with a name: what it does each way.
type Profile struct {
	Name string
	// Title is what it stands for, in a line.
	Title string
	// Up is towards the Internet, Down away from it.
	Up, Down Impairment
	// Evidence grades the figures, Source says where they come from.
	Evidence nat.Evidence
	Source   string
	// Note says what the profile leaves out or chooses; may be empty.
	Note string
}

// Profiles gives all profiles, in the order in which they are shown.
func Profiles() []Profile { return append([]Profile(nil), profiles...) }

// ProfileNames gives their names, in the same order.
func ProfileNames() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.Name
	}
	return names
}

// ProfileNamed gives a profile by its name.
func ProfileNamed(name string) (Profile, bool) {
	for _, p := range profiles {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

const (
	ms   = time.Millisecond
	kbit = 1_000
	mbit = 1_000_000

	// emulators says that figures are passed on from tool to tool.
	emulators = "usual setting of network emulators; no measurement is named with it"
)

// same is a profile that does the same both ways.
func same(name, title string, i Impairment, evidence nat.Evidence, source, note string) Profile {
	return Profile{Name: name, Title: title, Up: i, Down: i, Evidence: evidence, Source: source, Note: note}
}

// rates gives an impairment two rates.
func rates(p Profile, up, down uint64) Profile {
	p.Up.Rate, p.Down.Rate = up, down
	return p
}

var profiles = []Profile{
	same("wifi", "Wi-Fi at home, 802.11g", Impairment{Delay: 5 * ms, Jitter: 1 * ms, Loss: 0.02, Rate: 54 * mbit},
		nat.EvidenceSecondary, emulators, "54 Mbit/s is 802.11g's rate on the air; what IP gets of it is less."),
	same("wifi-bad", "Wi-Fi that is far away or crowded", Impairment{Delay: 56 * ms, Jitter: 56 * ms},
		nat.EvidenceSecondary, "more than half of the packets take over 20 ms, one of ten over 100 ms",
		"A uniform spread of 0 to 112 ms meets both: 82 % and 11 %. Loss and rate are not known."),
	same("4g", "LTE as most have it", Impairment{Delay: 30 * ms, Jitter: 10 * ms, Loss: 0.01, Rate: 50 * mbit},
		nat.EvidenceSecondary, emulators, ""),
	rates(Profile{Name: "4g-good", Title: "LTE with good reception",
		Up:       Impairment{Delay: 45 * ms, Jitter: 15 * ms, Loss: 0.002},
		Down:     Impairment{Delay: 45 * ms, Jitter: 5 * ms, Loss: 0.002},
		Evidence: nat.EvidenceSecondary, Source: emulators,
	}, 50*mbit, 100*mbit),
	rates(same("hspa", "3.5G", Impairment{Delay: 150 * ms, Jitter: 10 * ms, Loss: 0.005},
		nat.EvidenceSecondary, emulators, ""), 10*mbit, 20*mbit),
	same("3g", "UMTS", Impairment{Delay: 100 * ms, Jitter: 30 * ms, Loss: 0.03, Rate: 2 * mbit},
		nat.EvidenceRead, "LinkCondition::Mobile3G of n0-computer/patchbay: delay, jitter and rate; its loss is 2 %", ""),
	same("3g-slow", "UMTS with much delay", Impairment{Delay: 250 * ms, Jitter: 50 * ms, Loss: 0.005, Rate: 1200 * kbit},
		nat.EvidenceSecondary, emulators, ""),
	rates(same("edge", "2.75G", Impairment{Delay: 650 * ms, Jitter: 100 * ms, Loss: 0.01},
		nat.EvidenceSecondary, emulators, ""), 260*kbit, 200*kbit),
	rates(same("5g", "NR without stand-alone core", Impairment{Delay: 10 * ms, Jitter: 5 * ms, Loss: 0.003},
		nat.EvidenceDerived, "0.1 to 0.5 % loss, 100 to 300 Mbit/s", "The middle of the loss, both ends of the rates."), 100*mbit, 300*mbit),
	rates(same("dsl", "ADSL", Impairment{Delay: 25 * ms},
		nat.EvidenceSecondary, "WebPageTest's connectivity profile DSL, as quoted by NCC Group (2013)",
		"WebPageTest has 50 ms of RTT, half of it each way."), 384*kbit, 1500*kbit),
	rates(same("cable", "DOCSIS", Impairment{Delay: 14 * ms},
		nat.EvidenceSecondary, "WebPageTest's connectivity profile Cable, as quoted by NCC Group (2013)",
		"WebPageTest has 28 ms of RTT, half of it each way."), 1*mbit, 5*mbit),
	same("geo-satellite", "a geostationary satellite", Impairment{Delay: 600 * ms, Jitter: 50 * ms, Loss: 0.005, Rate: 10 * mbit},
		nat.EvidenceSecondary, emulators,
		"Light alone takes 239 ms up and down; where 600 ms is meant to be the RTT, say delay: 300ms."),
	same("starlink", "a low constellation of satellites", Impairment{
		Delay: 15 * ms, Jitter: 6700 * time.Microsecond, Loss: 0.01, Wander: Wander{Delay: 25 * ms, Every: 15 * time.Second},
	}, nat.EvidenceSecondary, "RTT of 30 to 80 ms, mostly near 40, assigned anew each 15 s (Mohan et al., arXiv:2310.09242; arXiv:2601.08439); jitter 6.7 ms",
		"The RTT wanders uniformly, so that its mean is 55 ms. Loss reaches 4 to 8 % at the 75th percentile: say loss: 6%."),
}
