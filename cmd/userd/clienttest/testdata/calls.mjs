// The line protocol of doc.go, for every client in JavaScript.

// handler returns a function that takes one line. run makes one call: it reads
// requests, emits responses, and returns the end of the call.
export function handler(run, print) {
  const calls = new Map();
  return (line) => {
    const { call, method, send, close, cancel } = JSON.parse(line);
    if (method) {
      const requests = new Requests();
      const aborter = new AbortController();
      calls.set(call, { requests, aborter });
      run(method, requests, aborter.signal, (response) => print(JSON.stringify({ call, response }))).then((end) => {
        calls.delete(call);
        print(JSON.stringify({ call, end }));
      });
    }
    const open = calls.get(call);
    if (send) open?.requests.push(send);
    if (close) open?.requests.close();
    if (cancel) open?.aborter.abort();
  };
}

// Requests can be iterated while they come in.
class Requests {
  #queue = [];
  #closed = false;
  #wake = () => {};

  push(request) {
    this.#queue.push(request);
    this.#wake();
  }

  close() {
    this.#closed = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#queue.length > 0) yield this.#queue.shift();
      if (this.#closed) return;
      await new Promise((wake) => (this.#wake = wake));
    }
  }

  // only returns the one request of a call that takes no stream.
  async only() {
    for await (const request of this) return request;
  }
}
