package failure

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/store"
)

// invalidUserLogInterval is the least time between two lines about users that were
// left out: a list meets the same ones again and again.
const invalidUserLogInterval = 10 * time.Second

// InvalidUsers tells of users in the store that cannot be shown, since another program
// has written their rows. Calls that are about one fail; lists and watches go on.
type InvalidUsers struct {
	logger *slog.Logger
	count  prometheus.Counter

	mu     sync.Mutex
	logged time.Time
}

// NewInvalidUsers adds their metric to a registry.
func NewInvalidUsers(registry prometheus.Registerer, logger *slog.Logger) *InvalidUsers {
	i := &InvalidUsers{logger: logger, count: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "userd_store_invalid_users_total",
		Help: "Times that a user was not shown because its row in the store is not valid.",
	})}
	registry.MustRegister(i.count)
	return i
}

// Without returns users but for those that cannot be shown, in place.
func (i *InvalidUsers) Without(users []store.User) []store.User {
	valid := 0
	for n := range users {
		if !i.Shows(&users[n]) {
			continue
		}
		if valid < n { // Hardly ever: a user is large.
			users[valid] = users[n]
		}
		valid++
	}
	return users[:valid]
}

// Shows reports whether a user can be shown. Where not, it is counted, and logged now
// and then.
func (i *InvalidUsers) Shows(user *store.User) bool {
	err := user.Check()
	if err == nil {
		return true
	}
	i.count.Inc()
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := time.Now(); now.Sub(i.logged) >= invalidUserLogInterval {
		i.logged = now
		i.logger.Error("a user is left out of lists and watches until its row is mended", "cause", err.Error())
	}
	return false
}

// Count counts a call that has failed because of such a user.
func (i *InvalidUsers) Count(err error) {
	if invalid := new(store.InvalidUserError); errors.As(err, &invalid) {
		i.count.Inc()
	}
}
