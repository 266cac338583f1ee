package agent

import "net/http"

// Handler is what serves requests, without a connection below it.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }
