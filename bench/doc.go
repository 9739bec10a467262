// Package bench measures what a container's network costs, through the published
// API, beside the floor: what the kernel alone takes for a namespace, a veth, an
// address and a route. Both are measured in turns in one run, so that their ratio
// holds on any machine.
//
// It has benchmarks only: "make bench" runs them and explains the columns.
package bench
