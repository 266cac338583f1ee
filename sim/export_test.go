package sim

// Labs generates valid labs of every shape, for tests that build them.
var Labs = labs
