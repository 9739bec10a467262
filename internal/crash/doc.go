// Package crash proves that nothing is left behind or lost: its tests kill
// processes at every numbered step of every operation, let every step fail, damage
// the store and load the engine from many goroutines, and compare records, kernel
// and files afterwards.
//
// The package holds tests alone. They run in processes that have network and mount
// namespaces of their own, several at a time; within such a process they are not
// parallel.
package crash
