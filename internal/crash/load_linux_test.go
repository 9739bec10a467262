package crash

var loads = map[string]func() int{}
