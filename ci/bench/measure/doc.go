// Package measure is what systems that were measured beside each other are shown by:
// tables for a terminal, one page with plots, and JSON with every sample.
//
// A runner makes a Part: Comparisons of systems that took turns in rounds, and Curves
// of what grows with the work. Ratios are of one round each, because what slows a
// whole round down slows all of its systems.
package measure
