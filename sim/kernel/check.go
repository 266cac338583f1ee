package kernel

// State is how a check of Doctor came out.
type State string

// The states.
const (
	Ready   State = "ok"
	Limited State = "limited" // labs work, within what Detail says
	Missing State = "missing" // labs do not work
)

// Check is one thing that labs need of a machine.
type Check struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	// Fix is the command that mends it, or advice where no command does; empty
	// if nothing needs mending.
	Fix string `json:"fix,omitempty"`
}
