package wire

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxListItems is more than a list of any request of user.v1 may have. Decoded, an element
// needs many times the two or three bytes in which it comes.
const maxListItems = 1_000

// maxNesting is more than a message of user.v1 has arrays and objects inside each other.
const maxNesting = 32

// longListBytes is the size from which a message is looked at for lists that are too long,
// in bytes.
const longListBytes = 16 << 10

// withoutLongLists is an encoded message of user.v1 that ends in the first list that is too
// long, with more elements than the rules allow. Others are as they were.
func withoutLongLists(data []byte, message protoreflect.MessageDescriptor, binary bool) []byte {
	switch {
	case len(data) < longListBytes || message.ParentFile().Package() != "user.v1":
		return data
	case binary:
		return make(listCounts).cut(data, message)
	}
	return cutArrays(data)
}

// listCounts are the elements of each list, and of each message that comes in parts.
type listCounts map[protoreflect.FullName]int

func (l listCounts) cut(data []byte, message protoreflect.MessageDescriptor) []byte {
	for at := 0; at < len(data); {
		number, kind, n := protowire.ConsumeTag(data[at:])
		size := protowire.ConsumeFieldValue(number, kind, data[at+max(n, 0):])
		if n < 0 || size < 0 {
			return data // The decoder says what is wrong.
		}
		field := message.Fields().ByNumber(number)
		if field != nil && (field.IsList() || field.Message() != nil) {
			if l[field.FullName()]++; l[field.FullName()] > maxListItems {
				return data[:at]
			}
		}
		if field != nil && field.Message() != nil && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(data[at+n:]) // It was measured above.
			if short := l.cut(content, field.Message()); len(short) < len(content) {
				return protowire.AppendBytes(slices.Clip(data[:at+n]), short)
			}
		}
		at += n + size
	}
	return data
}

// bracket is an array or object that has begun.
type bracket struct {
	end   byte
	items int
}

// cutArrays is JSON that ends in the first array or object that is too long or lies too deep.
func cutArrays(data []byte) []byte {
	var open []bracket
	for at := 0; at < len(data); at++ {
		switch data[at] {
		case '"':
			at = endOfText(data, at)
		case '{', '[':
			if len(open) == maxNesting {
				return withEnds(data[:at], open)
			}
			open = append(open, bracket{end: data[at] + 2}) // Their places in ASCII.
		case '}', ']':
			open = open[:max(len(open)-1, 0)]
		case ',':
			if len(open) == 0 {
				continue
			}
			if open[len(open)-1].items++; open[len(open)-1].items > maxListItems {
				return withEnds(data[:at], open)
			}
		}
	}
	return data
}

// withEnds is JSON with the ends of what is open.
func withEnds(data []byte, open []bracket) []byte {
	data = slices.Clip(data)
	for _, b := range slices.Backward(open) {
		data = append(data, b.end)
	}
	return data
}

// endOfText is where a JSON text ends that begins at a place.
func endOfText(data []byte, begin int) int {
	for at := begin + 1; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at
		}
	}
	return len(data)
}
