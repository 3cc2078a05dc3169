package rows

import (
	"errors"
	"maps"
	"slices"
	"strings"

	userv1 "github.com/example/userd/gen/user/v1"
)

// keycloakUser is what of a user of a realm export of Keycloak is kept.
type keycloakUser struct {
	ID               string              `json:"id"`
	Username         string              `json:"username"`
	Email            string              `json:"email"`
	EmailVerified    bool                `json:"emailVerified"`
	FirstName        string              `json:"firstName"`
	LastName         string              `json:"lastName"`
	Enabled          *bool               `json:"enabled"`
	CreatedTimestamp int64               `json:"createdTimestamp"`
	Attributes       map[string][]string `json:"attributes"`
	RealmRoles       []string            `json:"realmRoles"`
}

func parseKeycloak(text []byte) (*userv1.CreateUserRequest, error) {
	var from keycloakUser
	if err := unmarshalObject(text, &from); err != nil {
		return nil, errors.New("this is no user of Keycloak: " + err.Error())
	}
	user := &userv1.CreateUserRequest{
		ExternalId: from.ID, Email: from.Email, DisplayName: firstOf(from.FirstName+" "+from.LastName, from.Username, from.Email),
		Disabled: from.Enabled != nil && !*from.Enabled, CreatedAt: milliseconds(from.CreatedTimestamp),
	}
	names := newRenaming(user)
	names.roles(from.RealmRoles)
	names.text("username", "username", from.Username)
	if from.EmailVerified {
		names.text("emailVerified", "email_verified", "true")
	}
	for _, name := range slices.Sorted(maps.Keys(from.Attributes)) {
		names.text("attributes."+name, nameOf(name, notInAttributes), strings.Join(from.Attributes[name], ","))
	}
	return user, names.err
}
