package rules

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// Bounds of the schema.
const (
	maxEmailBytes = 254
	maxNameRunes  = 200
	maxRoleBytes  = 63
	maxLabelBytes = 63 // Of the domain of an email address.
	maxBatchIDs   = 100
	maxTokenBytes = 512
	maxExternalID = 255
	maxValueBytes = 1024 // Of an attribute.
	maxPageSize   = 100
)

// accepted reports whether a message keeps all rules of the schema, for the
// messages that come most often. It says yes to nothing that breaks a rule; what it
// does not say yes to is for protovalidate, which costs a hundred times as much
// and finds the words for a refusal.
func accepted(message any) bool {
	switch m := message.(type) {
	case *userv1.GetUserRequest:
		return IsUUID(m.GetUserId()) && m.GetMinVersion() >= 0
	case *userv1.BatchGetUsersRequest:
		return len(m.GetUserIds()) <= maxBatchIDs && all(m.GetUserIds(), IsUUID)
	case *userv1.GetUserByEmailRequest:
		return isEmail(m.GetEmail())
	case *userv1.ListUsersRequest:
		return len(m.GetPageToken()) <= maxTokenBytes && (m.GetAll() || m.GetPageSize() >= 0 && m.GetPageSize() <= maxPageSize)
	case *userv1.GetUserByExternalIdRequest:
		return m.GetExternalId() != "" && isExternalID(m.GetExternalId())
	case *userv1.CreateUserRequest:
		return isEmail(m.GetEmail()) && isName(m.GetDisplayName()) && areRoles(m.GetRoles()) &&
			(m.GetUserId() == "" || IsUUID(m.GetUserId())) && isExternalID(m.GetExternalId()) &&
			areAttributes(m.GetAttributes()) && isPast(m.CreatedAt) && isPast(m.LastLogin) &&
			m.GetOnConflict() >= 0 && m.GetOnConflict() <= userv1.OnConflict_ON_CONFLICT_UPDATE
	case *userv1.UserUpdate:
		return isUpdate(m)
	case *userv1.UpdateUserRequest:
		return m.GetUpdate() != nil && isUpdate(m.GetUpdate())
	}
	return false
}

func isUpdate(m *userv1.UserUpdate) bool {
	return IsUUID(m.GetUserId()) && (m.DisplayName == nil || isName(m.GetDisplayName())) &&
		(m.ExpectedVersion == nil || m.GetExpectedVersion() >= 1) &&
		areRoles(m.GetAddRoles()) && areRoles(m.GetRemoveRoles()) &&
		!slices.ContainsFunc(m.GetRemoveRoles(), func(role string) bool { return slices.Contains(m.GetAddRoles(), role) }) &&
		(m.Email == nil || isEmail(m.GetEmail())) && isExternalID(m.GetExternalId()) &&
		areAttributes(m.GetSetAttributes()) && len(m.GetRemoveAttributes()) == 0
}

// isPast reports whether a time is none, or one of the past after 1970.
func isPast(t *timestamppb.Timestamp) bool {
	return t == nil || t.IsValid() && t.GetSeconds() >= 0 && t.AsTime().Before(time.Now())
}

// isExternalID reports whether text is at most 255 bytes without control characters.
func isExternalID(text string) bool {
	return len(text) <= maxExternalID && !strings.ContainsFunc(text, isControl)
}

// isControl reports whether r is a control character, of which Unicode has 65, or may be
// what is no UTF-8.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }

func areAttributes(attributes map[string]string) bool {
	if len(attributes) == 0 {
		return true
	}
	size := 0
	for name, value := range attributes {
		if !isRole(name) || strings.ContainsRune(name, ':') || len(value) > maxValueBytes || strings.ContainsRune(value, 0) ||
			strings.ContainsRune(value, utf8.RuneError) {
			return false
		}
		size += len(name) + len(value)
	}
	return len(attributes) <= store.MaxAttributes && size <= store.MaxAttributeBytes
}

func all(texts []string, is func(string) bool) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !is(text) })
}

// IsUUID reports whether text is a UUID, in either case: the rule string.uuid.
func IsUUID(text string) bool {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	digits := 0
	for i := range len(text) {
		digits += int(class[text[i]] & hexDigit)
	}
	return digits == 32 // All but the hyphens.
}

// isEmail is the rule string.email, which is that of HTML, within maxEmailBytes.
func isEmail(text string) bool {
	if len(text) > maxEmailBytes {
		return false
	}
	at := 0
	for at < len(text) && class[text[at]]&localByte != 0 {
		at++
	}
	if at == 0 || at == len(text) || text[at] != '@' {
		return false
	}
	start := at + 1
	for i := start; i < len(text); i++ {
		if text[i] == '.' {
			if !isLabel(text[start:i]) {
				return false
			}
			start = i + 1
		}
	}
	return isLabel(text[start:])
}

// isLabel reports whether text is a part of a domain.
func isLabel(text string) bool {
	if text == "" || len(text) > maxLabelBytes || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	for i := range len(text) {
		if class[text[i]]&labelByte == 0 {
			return false
		}
	}
	return true
}

// isName reports whether text is 1 to 200 characters and none of them is a control
// character.
func isName(text string) bool {
	if text == "" || len(text) > maxNameRunes*utf8.UTFMax {
		return false
	}
	if isPrintableASCII(text) { // As most are.
		return len(text) <= maxNameRunes
	}
	runes := 0
	for _, r := range text {
		if isControl(r) {
			return false
		}
		runes++
	}
	return runes <= maxNameRunes
}

func isPrintableASCII(text string) bool {
	common := byte(printable)
	for i := range len(text) {
		common &= class[text[i]]
	}
	return common != 0
}

func areRoles(roles []string) bool {
	if len(roles) > store.MaxRoles {
		return false
	}
	for i, role := range roles {
		if !isRole(role) || slices.Contains(roles[:i], role) {
			return false
		}
	}
	return true
}

// isRole is the rule ^[a-z][a-z0-9_.:-]{0,62}$.
func isRole(text string) bool {
	if text == "" || len(text) > maxRoleBytes || text[0] < 'a' || text[0] > 'z' {
		return false
	}
	for i := range len(text) {
		if class[text[i]]&roleByte == 0 {
			return false
		}
	}
	return true
}

// The classes of bytes in the texts of the schema.
const (
	hexDigit  = 1 << iota // 1, so that digits can be counted.
	localByte             // Before the @ of an email address.
	labelByte             // Of its domain.
	roleByte
	printable // ASCII.
)

var class = func() (class [256]byte) {
	for kind, members := range map[byte]string{
		hexDigit:                         "0123456789abcdefABCDEF",
		localByte | labelByte:            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		localByte | labelByte | roleByte: "abcdefghijklmnopqrstuvwxyz0123456789-",
		localByte | roleByte:             "._",
		localByte:                        "!#$%&'*+/=?^`{|}~",
		roleByte:                         ":",
	} {
		for i := range len(members) {
			class[members[i]] |= kind
		}
	}
	for c := ' '; c <= '~'; c++ {
		class[c] |= printable
	}
	return class
}()
