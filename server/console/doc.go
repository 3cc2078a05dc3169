// Package console is the web page for people, served at /console/: it finds, shows, creates,
// changes and deletes users, follows changes, imports and exports files, shows how the server is
// doing, and documents the API.
//
// The page is a client like any other: it calls the service over gRPC-Web, with the token of
// whoever has signed in, and may do what that may. Its files tell nothing of users and need
// no credentials.
//
// Its sources are below src, in TypeScript: main.tsx has the frame and the addresses, client.ts
// the calls, with the client of gen/ts, and what their caller may do: it tries. users.ts has
// what is made of users; each page has a file.
// dist has what Vite has made of them, which is what is embedded: building userd needs no
// Node.js. make console builds it anew, and CI checks that it is what the sources make.
package console
