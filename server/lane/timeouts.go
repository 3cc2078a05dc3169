package lane

import (
	"strconv"
	"time"
)

var timeoutUnits = map[byte]time.Duration{
	'n': time.Nanosecond, 'u': time.Microsecond, 'm': time.Millisecond,
	'S': time.Second, 'M': time.Minute, 'H': time.Hour,
}

// ParseGRPCTimeout parses a grpc-timeout, as gRPC over HTTP/2 has it: up to eight digits and
// a unit. One that is longer than a time.Duration is none, and so is "".
func ParseGRPCTimeout(value string) (timeout time.Duration, has, ok bool) {
	const longest = 9
	if value == "" {
		return 0, false, true
	}
	unit, known := timeoutUnits[value[len(value)-1]]
	n, err := strconv.ParseUint(value[:len(value)-1], 10, 63)
	if !known || err != nil || len(value) > longest {
		return 0, false, false
	}
	timeout = time.Duration(n) * unit
	if timeout/unit != time.Duration(n) {
		return 0, false, true
	}
	return timeout, true, true
}

// ParseConnectTimeout parses a connect-timeout-ms: up to ten digits. "" is none.
func ParseConnectTimeout(value string) (timeout time.Duration, has, ok bool) {
	const longest = 10
	if value == "" {
		return 0, false, true
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || len(value) > longest {
		return 0, false, false
	}
	return time.Duration(n) * time.Millisecond, true, true
}
