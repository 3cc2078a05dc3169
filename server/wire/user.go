package wire

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// The fields of a User.
const (
	fieldID protowire.Number = iota + 1
	fieldEmail
	fieldDisplayName
	fieldCreatedAt
	fieldLastLogin
	fieldRoles
	fieldVersion
	fieldUpdatedAt
	fieldDisabled
	fieldExternalID
	fieldAttributes
)

// User is u as callers see it, or a store.InvalidUserError.
func User(u store.User) (*userv1.User, error) {
	if err := u.Check(); err != nil {
		return nil, err
	}
	return ToProto(u), nil
}

// ToProto is u, which has been checked, as callers see it.
func ToProto(u store.User) *userv1.User {
	user := &userv1.User{
		Id:          u.ID,
		Email:       u.Email,
		DisplayName: u.DisplayName,
		CreatedAt:   timestamppb.New(u.CreatedAt),
		Roles:       u.Roles,
		Version:     u.Version,
		UpdatedAt:   timestamppb.New(u.UpdatedAt),
		Disabled:    u.Disabled,
		ExternalId:  u.ExternalID,
		Attributes:  toMap(u.Attributes),
	}
	if !u.LastLogin.IsZero() {
		user.LastLogin = timestamppb.New(u.LastLogin)
	}
	return user
}

func toMap(attributes []store.Attribute) map[string]string {
	if len(attributes) == 0 {
		return nil
	}
	values := make(map[string]string, len(attributes))
	for _, attribute := range attributes {
		values[attribute.Name] = attribute.Value
	}
	return values
}

// fromMap returns attributes as a store takes them.
func fromMap(values map[string]string) []store.Attribute {
	if len(values) == 0 {
		return nil
	}
	attributes := make([]store.Attribute, 0, len(values))
	for name, value := range values {
		attributes = append(attributes, store.Attribute{Name: name, Value: value})
	}
	return attributes
}

// fromProto is the opposite of ToProto.
func fromProto(user *userv1.User) store.User {
	u := store.User{
		ID:          user.GetId(),
		Email:       user.GetEmail(),
		DisplayName: user.GetDisplayName(),
		CreatedAt:   user.GetCreatedAt().AsTime(),
		UpdatedAt:   user.GetUpdatedAt().AsTime(),
		Roles:       user.GetRoles(),
		Version:     user.GetVersion(),
		Disabled:    user.GetDisabled(),
		ExternalID:  user.GetExternalId(),
		Attributes:  store.SortedAttributes(fromMap(user.GetAttributes())),
	}
	if user.GetLastLogin() != nil {
		u.LastLogin = user.GetLastLogin().AsTime()
	}
	return u
}

// EncodeUser is u as a cache keeps it for this server: the protobuf message that
// callers get. It returns a store.InvalidUserError where there is none of u.
func EncodeUser(u store.User) ([]byte, error) {
	if err := u.Check(); err != nil {
		return nil, err
	}
	return encodeUser(u), nil
}

func encodeUser(u store.User) []byte {
	const fixed = 3*16 + 8*2 + 12 // Times, the tags and lengths of others, version, state.
	size := fixed + len(u.ID) + len(u.Email) + len(u.DisplayName) + len(u.ExternalID)
	for _, role := range u.Roles {
		size += 2 + len(role)
	}
	for _, attribute := range u.Attributes {
		size += 8 + len(attribute.Name) + len(attribute.Value)
	}
	return AppendUser(make([]byte, 0, size), &u)
}

// AppendUser appends what a deterministic proto.Marshal makes of ToProto(u), at a tenth of
// the cost: equal users have equal bytes. u has been checked.
func AppendUser(b []byte, u *store.User) []byte {
	b = appendText(b, fieldID, u.ID)
	b = appendText(b, fieldEmail, u.Email)
	b = appendText(b, fieldDisplayName, u.DisplayName)
	b = appendTime(b, fieldCreatedAt, u.CreatedAt)
	if !u.LastLogin.IsZero() {
		b = appendTime(b, fieldLastLogin, u.LastLogin)
	}
	for _, role := range u.Roles {
		b = appendElement(b, fieldRoles, role)
	}
	if u.Version != 0 {
		b = appendTag(b, fieldVersion, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(u.Version))
	}
	b = appendTime(b, fieldUpdatedAt, u.UpdatedAt)
	if u.Disabled {
		b = appendTag(b, fieldDisabled, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	b = appendText(b, fieldExternalID, u.ExternalID)
	for _, attribute := range u.Attributes {
		b = appendAttribute(b, attribute)
	}
	return b
}

// appendAttribute appends an entry of a map. Entries have both fields, whatever is in
// them.
func appendAttribute(b []byte, attribute store.Attribute) []byte {
	const name, value = 1, 2
	size := protowire.SizeTag(name) + protowire.SizeBytes(len(attribute.Name)) +
		protowire.SizeTag(value) + protowire.SizeBytes(len(attribute.Value))
	b = protowire.AppendTag(b, fieldAttributes, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	return appendElement(appendElement(b, name, attribute.Name), value, attribute.Value)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return appendElement(b, field, text)
}

func appendElement(b []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(appendTag(b, field, protowire.BytesType), text)
}

// appendTag appends the tag of a field whose number is less than 16: it has one byte.
func appendTag(b []byte, field protowire.Number, kind protowire.Type) []byte {
	return append(b, byte(field)<<3|byte(kind))
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	b = append(appendTag(b, field, protowire.BytesType), 0)
	start := len(b)
	if seconds := t.Unix(); seconds != 0 {
		b = protowire.AppendVarint(appendTag(b, 1, protowire.VarintType), uint64(seconds))
	}
	if nanos := t.Nanosecond(); nanos != 0 {
		b = protowire.AppendVarint(appendTag(b, 2, protowire.VarintType), uint64(nanos))
	}
	b[start-1] = byte(len(b) - start)
	return b
}

// DecodeUser is the opposite of EncodeUser.
func DecodeUser(data []byte) (store.User, error) {
	var user userv1.User
	if err := proto.Unmarshal(data, &user); err != nil {
		return store.User{}, err
	}
	return fromProto(&user), nil
}

func ToProtos(users []store.User) []*userv1.User {
	messages := make([]*userv1.User, len(users))
	for i, user := range users {
		messages[i] = ToProto(user)
	}
	return messages
}

var conflicts = map[userv1.OnConflict]store.OnConflict{
	userv1.OnConflict_ON_CONFLICT_SKIP:   store.SkipOnConflict,
	userv1.OnConflict_ON_CONFLICT_UPDATE: store.UpdateOnConflict,
}

// NewUser is the user that a request asks for, with a new id unless it brings
// one.
func NewUser(req *userv1.CreateUserRequest) store.NewUser {
	user := store.NewUser{
		ID:          CanonicalID(req.GetUserId()),
		NewID:       req.GetUserId() == "",
		Email:       req.GetEmail(),
		DisplayName: req.GetDisplayName(),
		Roles:       req.GetRoles(),
		Disabled:    req.GetDisabled(),
		ExternalID:  req.GetExternalId(),
		Attributes:  fromMap(req.GetAttributes()),
		OnConflict:  conflicts[req.GetOnConflict()],
		CreatedAt:   timeOrZero(req.GetCreatedAt()),
		LastLogin:   timeOrZero(req.GetLastLogin()),
	}
	if user.NewID {
		user.ID = uuid.NewString()
	}
	return user
}

func ToUpdate(req *userv1.UserUpdate) store.Update {
	return store.Update{
		ID:               CanonicalID(req.GetUserId()),
		Email:            req.Email,
		DisplayName:      req.DisplayName,
		Disabled:         req.Disabled,
		ExternalID:       req.ExternalId,
		AddRoles:         req.GetAddRoles(),
		RemoveRoles:      req.GetRemoveRoles(),
		SetAttributes:    fromMap(req.GetSetAttributes()),
		RemoveAttributes: req.GetRemoveAttributes(),
		ExpectedVersion:  req.GetExpectedVersion(),
	}
}

// ToQuery is what a search asks for, but for the page.
func ToQuery(req *userv1.SearchUsersRequest) store.Query {
	return store.Query{
		NewestFirst:   req.GetNewestFirst(),
		EmailPrefix:   req.GetEmailPrefix(),
		NameContains:  req.GetNameContains(),
		Role:          req.GetRole(),
		Disabled:      req.Disabled,
		Attributes:    store.SortedAttributes(fromMap(req.GetAttributes())),
		InactiveSince: boundOrZero(req.GetInactiveSince()),
		CreatedAfter:  boundOrZero(req.GetCreatedAfter()),
		CreatedBefore: boundOrZero(req.GetCreatedBefore()),
	}
}

// timeOrZero is a time as the store has it; none is the zero time.
func timeOrZero(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime().Truncate(time.Microsecond)
}

// boundOrZero is timeOrZero for a time that is compared with those of users: the first that
// one of them can have that is not before it.
func boundOrZero(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime().Add(time.Microsecond - 1).Truncate(time.Microsecond)
}

// CanonicalID is a UUID as the store has it.
func CanonicalID(id string) string {
	const lower = 'a' - 'A' // Digits and the hyphen have this bit, too.
	common := byte(lower)
	for i := range len(id) {
		common &= id[i]
	}
	if common == lower {
		return id
	}
	return strings.ToLower(id)
}

func CanonicalIDs(ids []string) []string {
	canonical := make([]string, len(ids))
	for i, id := range ids {
		canonical[i] = CanonicalID(id)
	}
	return canonical
}
