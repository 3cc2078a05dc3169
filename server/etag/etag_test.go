package etag

import "testing"

func TestMatches(t *testing.T) {
	t.Parallel()
	const tag = `W/"tag"`
	for _, test := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{tag}, true},
		{[]string{`"tag"`}, true},
		{[]string{"*"}, true},
		{[]string{" *\t"}, true},
		{[]string{`"a",W/"b" , W/"tag"`}, true},
		{[]string{`,, "a",	,"tag"`}, true},
		{[]string{`"a"`, `"b", "tag"`}, true},
		{[]string{`"a,b", "tag"`}, true},
		{[]string{`"a", "b"`, `W/"c"`}, false},
		{[]string{`"Tag"`}, false},
		{[]string{`w/"tag"`}, false},
		{[]string{`"a,*,b"`}, false},
		{[]string{`"a", *`}, false},
		{[]string{`"a,"tag"`}, false},
		{[]string{"tag"}, false},
		{[]string{`tag"`, `"tag`, `"`, `""`}, false},
	} {
		if got := Matches(test.lines, tag); got != test.want {
			t.Errorf("%q: %t, want %t", test.lines, got, test.want)
		}
	}
}
