//go:build !linux

package sansio

import (
	"context"
	"net"
)

// DontFragment says whether Loop honours Datagram.DontFragment on this system.
const DontFragment = false

// poller: other systems read each socket by a goroutine.
type poller struct{}

func (l *Loop) polled(*socket) (bool, error) { return false, nil }

func (l *Loop) readReady(context.Context) {}

func (l *Loop) attended() bool { return false }

func (l *Loop) waitInKernel(context.Context) bool { return false }

func (l *Loop) stopPolling() {}

func forceReceiveBuffer(net.PacketConn) {}
