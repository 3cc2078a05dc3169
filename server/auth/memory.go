package auth

import "sync"

// memoryHalf is half of the most tokens that are remembered: some 4 MiB.
const memoryHalf = 4_096

// memory remembers tokens whose signature is good, by their hash. When half of it is full,
// the other half, which nobody has asked for since, is forgotten.
type memory struct {
	mu       sync.Mutex
	new, old map[hash]*signed
}

// find returns what is remembered of a token, or nil.
func (m *memory) find(token hash) *signed {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found := m.new[token]; found != nil {
		return found
	}
	found := m.old[token]
	if found != nil {
		m.put(token, found)
	}
	return found
}

// add remembers a token.
func (m *memory) add(token hash, s *signed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(token, s)
}

// put is add with m.mu held.
func (m *memory) put(token hash, s *signed) {
	if len(m.new) >= memoryHalf || m.new == nil {
		m.new, m.old = make(map[hash]*signed), m.new
	}
	m.new[token] = s
}
