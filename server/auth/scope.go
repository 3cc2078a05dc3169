package auth

import (
	"slices"
	"strings"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/gen/userd/admin/v1/adminv1connect"
)

// Scope is something that principals may be allowed to do.
type Scope string

// The scopes that a file or a JWT can give.
const (
	UsersRead   Scope = "users.read"   // Users whose id is known.
	UsersList   Scope = "users.list"   // To find users, and to watch all.
	UsersWrite  Scope = "users.write"  // To create and change users.
	UsersDelete Scope = "users.delete" // To delete users.
	Admin       Scope = "admin"        // The admin listener, the status of the server, and what has no scope of its own.
)

// What requests need that need no scope.
const (
	// Public needs no credentials.
	Public Scope = ""
	// AnyPrincipal needs credentials, whatever their scopes.
	AnyPrincipal Scope = "any"
)

// grantable are the scopes that a file or a JWT can give.
var grantable = []Scope{UsersRead, UsersList, UsersWrite, UsersDelete, Admin}

// procedureScopes are the scopes of the RPCs. What finds users by anything else than
// their id has one of its own: with it a caller can learn who is there.
var procedureScopes = map[string]Scope{
	userv1connect.UserServiceGetUserProcedure:             UsersRead,
	userv1connect.UserServiceBatchGetUsersProcedure:       UsersRead,
	userv1connect.UserServiceListUsersProcedure:           UsersList,
	userv1connect.UserServiceSearchUsersProcedure:         UsersList,
	userv1connect.UserServiceGetUserByEmailProcedure:      UsersList,
	userv1connect.UserServiceGetUserByExternalIdProcedure: UsersList,
	userv1connect.UserServiceWatchUsersProcedure:          UsersList,
	userv1connect.UserServiceCreateUserProcedure:          UsersWrite,
	userv1connect.UserServiceBatchCreateUsersProcedure:    UsersWrite,
	userv1connect.UserServiceUpdateUserProcedure:          UsersWrite,
	userv1connect.UserServiceStreamUserUpdatesProcedure:   UsersWrite,
	userv1connect.UserServiceRecordLoginProcedure:         UsersWrite,
	userv1connect.UserServiceDeleteUserProcedure:          UsersDelete,
	adminv1connect.StatusServiceWatchStatusProcedure:      Admin,
}

// ScopeOf is what calls of an RPC need. Health is for probes, which have no credentials;
// reflection tells nothing of users. An RPC that nobody has thought of needs Admin.
func ScopeOf(procedure string) Scope {
	if scope, ok := procedureScopes[procedure]; ok {
		return scope
	}
	switch {
	case strings.HasPrefix(procedure, "/grpc.health.v1.Health/"):
		return Public
	case strings.HasPrefix(procedure, "/grpc.reflection."):
		return AnyPrincipal
	}
	return Admin
}

// Principal is a caller by one of its credentials.
type Principal struct {
	// Name is for logs. It is no secret.
	Name string
	// Credential is of which kind that is: token, certificate or jwt.
	Credential string
	scopes     []Scope
}

// May reports whether the principal may do what needs a scope.
func (p *Principal) May(scope Scope) bool {
	return scope == Public || scope == AnyPrincipal || slices.Contains(p.scopes, scope)
}
