//go:build linux

package conntrack

// WithoutFilters makes f do as on a kernel that cannot delete by filter.
func (f *Flusher) WithoutFilters() { f.noFilter.Store(true) }

// DeletesByFilter says whether the kernel was last found to delete by filter.
func (f *Flusher) DeletesByFilter() bool { return !f.noFilter.Load() }
