// Package signalling lets two ICE agents find each other over HTTP: a server with
// mailboxes, and what carries descriptions and candidates from one agent to the
// other. It is for laboratories and examples: whoever reaches the server reads and
// writes everything.
//
// POST /NAME leaves a message for NAME, one JSON object; GET /NAME?after=N waits a
// while for those after the first N and gives a list. A message is credentials, a
// candidate, or says that there will be no more candidates.
package signalling

// Message is what sides tell each other.
type Message struct {
	// Ufrag and Password are credentials; new ones are an ICE restart.
	Ufrag    string `json:"ufrag,omitempty"`
	Password string `json:"password,omitempty"`
	// Lite comes with credentials: the side only answers checks.
	Lite bool `json:"lite,omitempty"`
	// Options come with credentials: ice-options, of which "renomination" counts.
	Options []string `json:"options,omitempty"`
	// Candidate is a line as RFC 8839 has it.
	Candidate string `json:"candidate,omitempty"`
	// Complete: there are no more candidates.
	Complete bool `json:"complete,omitempty"`
}
