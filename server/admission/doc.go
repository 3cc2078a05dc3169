// Package admission lets the calls of a store begin, so that each class of calls has its
// share of what the store can do and more than it can do is refused at once: a call that
// waits until nobody wants its answer any more costs as much as one that is useful.
//
//   - class.go: the classes, and their shares of a store
//   - queue.go: who may begin now, who waits, who is refused because too many do
//   - callers.go: of the calls of a class, whose is next
//   - store.go: a store whose calls are admitted
//   - stream.go: streams of writes, which are refused when they begin or never
//   - turns.go: the writes of one user, one after the other; of these, too, only so many wait
//   - stats.go: what there was to see, and the log
//
// Calls that a cache answers never get here, and those that keep the service alive (see
// [store.Vital]) always begin. The queues are bounded in number and in time. A queue takes up
// a burst, and the calls of as many callers as it has room for who each wait for their
// answers: it may stand, but it does not grow. Where calls come faster than they are served
// it overflows, and is then kept short in the way of CoDel
// (https://queue.acm.org/detail.cfm?id=2209336) until hardly any are refused,
// or for five seconds, after which it may try again.
//
// Within a class callers share what there is, as they do in the fair queues of Kubernetes'
// API Priority and Fairness: whoever has the fewest calls under way is next, of several
// whoever has waited the longest since his last call, where there are others nobody has more
// than half of the places, and a queue that is full or too long loses the calls of whoever has
// the most in it.
package admission
