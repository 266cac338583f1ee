// Package agent measures a client's request through an Agent beside NATS alone and a
// call in the process, and what requests and sessions cost as there are more clients.
package agent
