package relay

// InFlight is how many requests the server has still to answer.
func (c *Client) InFlight() int { return c.requests.Len() }

// Permissions is how many addresses the server is asked to let through.
func (c *Client) Permissions() int { return len(c.permissions) }
