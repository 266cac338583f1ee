package certify

import (
	"fmt"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// Verdict is what became of a requirement.
type Verdict string

// The verdicts.
const (
	Met       Verdict = "met"
	NotMet    Verdict = "not met"
	NotTested Verdict = "not tested"
)

// Requirement is one of RFC 4787 section 12, and whether the NAT meets it.
type Requirement struct {
	ID    string `json:"id"`    // as in "REQ-3a"
	Level string `json:"level"` // MUST, MUST NOT, SHOULD, RECOMMENDED, MAY
	// Text is what it says, shortened.
	Text    string  `json:"text"`
	Verdict Verdict `json:"verdict"`
	// Why says why it was not tested, or what was seen.
	Why      string   `json:"why"`
	Evidence []string `json:"evidence,omitempty"`
}

// requirements are those of RFC 4787, in its order.
var requirements = []Requirement{
	{ID: "REQ-1", Level: "MUST", Text: "endpoint-independent mapping"},
	{ID: "REQ-2", Level: "RECOMMENDED", Text: "paired IP address pooling"},
	{ID: "REQ-3", Level: "MUST NOT", Text: "port overloading"},
	{ID: "REQ-3a", Level: "RECOMMENDED", Text: "ports below 1024 for those below 1024, others for others"},
	{ID: "REQ-4", Level: "RECOMMENDED", Text: "port parity preservation"},
	{ID: "REQ-5", Level: "MUST NOT", Text: "mappings that expire in less than two minutes"},
	{ID: "REQ-5c", Level: "RECOMMENDED", Text: "a default of five minutes or more"},
	{ID: "REQ-6", Level: "MUST", Text: "outbound packets refresh a mapping"},
	{ID: "REQ-6a", Level: "MAY", Text: "inbound packets refresh a mapping"},
	{ID: "REQ-7", Level: "MUST", Text: "inside and outside may use the same addresses", Verdict: NotTested,
		Why: "it is about outer addresses that are configured dynamically; those of the probe never conflict with inside ones"},
	{ID: "REQ-8", Level: "RECOMMENDED", Text: "endpoint-independent or address-dependent filtering"},
	{ID: "REQ-9", Level: "MUST", Text: "hairpinning"},
	{ID: "REQ-9a", Level: "MUST", Text: "hairpinning with the external source address and port"},
	{ID: "REQ-10", Level: "SHOULD", Text: "ALGs for UDP are off"},
	{ID: "REQ-10a", Level: "MUST", Text: "each ALG can be switched by the administrator", Verdict: NotTested,
		Why: "it is about the administrator's interface, and not about packets"},
	{ID: "REQ-11", Level: "MUST", Text: "deterministic behaviour, whatever the conditions"},
	{ID: "REQ-12", Level: "MUST NOT", Text: "ICMP messages that end a mapping"},
	{ID: "REQ-12a", Level: "SHOULD NOT", Text: "ICMP messages filtered by their source address"},
	{ID: "REQ-12b", Level: "RECOMMENDED", Text: "ICMP Destination Unreachable is let through"},
	{ID: "REQ-13", Level: "MUST", Text: "Fragmentation Needed for what is too large and has DF=1"},
	{ID: "REQ-13a", Level: "MUST", Text: "what is too large and has DF=0 is fragmented"},
	{ID: "REQ-14", Level: "MUST", Text: "fragments are received in order and out of order"},
	{ID: "REQ-14a", Level: "MUST", Text: "fragments of attackers do not hinder others", Verdict: NotTested,
		Why: "it takes an attack that lasts: the reassembly of this machine's kernel would be tested, which all NATs of a laboratory share"},
}

// judgement is what was found out about a requirement.
type judgement struct {
	verdict  Verdict
	why      string
	evidence []string
}

// judge notes the verdict of a requirement.
func (p *Probe) judge(id string, verdict Verdict, why string, evidence ...string) {
	p.judged[id] = judgement{verdict, why, evidence}
}

// require notes whether a requirement is met.
func (p *Probe) require(id string, met bool, why string, evidence ...string) {
	verdict := NotMet
	if met {
		verdict = Met
	}
	p.judge(id, verdict, why, evidence...)
}

// judgeFindings concludes from the axes that were measured.
func (p *Probe) judgeFindings(time.Time) {
	p.requireAxis("REQ-1", nat.AxisMapping, "", "EIM")
	p.requireAxis("REQ-2", nat.AxisPooling, "the NAT has one external address, so there is no pool", nat.PoolPaired.String())
	p.requireAxis("REQ-4", nat.AxisParity, "it takes two inside hosts with one external address", nat.ParityKeep.String())
	p.requireAxis("REQ-8", nat.AxisFiltering, "", "EIF", "ADF")
	hidden := "the filter hides what is hairpinned, as mapping and filtering both look at the remote side"
	p.requireAxis("REQ-9", nat.AxisHairpin, hidden, nat.HairpinInternal.String(), nat.HairpinExternal.String(), analysis.Irregular)
	p.requireAxis("REQ-9a", nat.AxisHairpin, hidden, nat.HairpinExternal.String())
	p.requireAxis("REQ-6", nat.AxisRefresh, fmt.Sprintf("to tell it a mapping has to expire: name a timeout of at most %s, or raise --patience", spell(p.cfg.Patience)),
		nat.RefreshOutbound.String(), nat.RefreshBoth.String())
	p.requireAxis("REQ-6a", nat.AxisRefresh, "as REQ-6", nat.RefreshInbound.String(), nat.RefreshBoth.String())
}

// requireAxis is require of an axis that must have one of these values.
func (p *Probe) requireAxis(id string, axis nat.Axis, otherwise string, values ...string) {
	f, ok := p.told[axis]
	if !ok || f.Measured == analysis.Unreached || f.Measured == noneOrExternal {
		if otherwise == "" {
			otherwise = "nothing came through"
		}
		p.judge(id, NotTested, otherwise)
		return
	}
	p.require(id, p.is(axis, values...), fmt.Sprintf("%s=%s", axis, f.Measured), f.Evidence...)
}

// report gives the requirements with their verdicts.
func (p *Probe) report() []Requirement {
	if !p.cfg.Requirements {
		return nil
	}
	all := make([]Requirement, len(requirements))
	for i, r := range requirements {
		if j, ok := p.judged[r.ID]; ok {
			r.Verdict, r.Why, r.Evidence = j.verdict, j.why, j.evidence
		}
		if r.Verdict == "" {
			r.Verdict, r.Why = NotTested, "nothing came through"
		}
		all[i] = r
	}
	return all
}
