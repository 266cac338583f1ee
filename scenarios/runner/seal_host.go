package runner

import "fmt"

// sealHosts notes how the rules of hosts look that have firewalls of their own.
func (s *stage) sealHosts() error {
	s.hostSeals = map[string]string{}
	return s.eachGuarded(func(host, now string) error {
		s.hostSeals[host] = now
		return nil
	})
}

// hostsSealed makes sure that they are as they were.
func (s *stage) hostsSealed() error {
	return s.eachGuarded(func(host, now string) error {
		if now != s.hostSeals[host] {
			return fmt.Errorf("somebody changed the rules of host %s in the run, so that nothing is known of its firewall; run the scenario again, and let nothing else touch its namespaces", host)
		}
		return nil
	})
}

// eachGuarded gives the fingerprint of each host that has a firewall of its own.
func (s *stage) eachGuarded(f func(host, fingerprint string) error) error {
	for _, h := range s.v.lab.Hosts {
		if h.Firewall == nil {
			continue
		}
		running, err := s.net.Host(h.Name)
		if err != nil {
			return err
		}
		now, err := running.Fingerprint()
		if err != nil {
			return err
		}
		if err := f(h.Name, now); err != nil {
			return err
		}
	}
	return nil
}
