"use strict";

// A connection for events that is given up while its page is out of sight: a browser has only a
// few for each server, and who comes back gets the whole state at once.
class SightedSource extends EventTarget {
  static HIDDEN_MS = 5000;
  #url;
  #source;
  #names = new Set();
  #timer;

  constructor(url) {
    super();
    this.#url = url;
    this.#open();
    this.watch = () => {
      clearTimeout(this.#timer);
      if (document.hidden) this.#timer = setTimeout(() => this.#source.close(), SightedSource.HIDDEN_MS);
      else if (this.readyState === EventSource.CLOSED) this.#open();
    };
    document.addEventListener("visibilitychange", this.watch);
  }

  get readyState() { return this.#source.readyState; }

  addEventListener(name, listener) {
    super.addEventListener(name, listener);
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.#forward(name);
  }

  close() {
    document.removeEventListener("visibilitychange", this.watch);
    clearTimeout(this.#timer);
    this.#source.close();
  }

  #open() {
    this.#source = new EventSource(this.#url);
    this.#source.onopen = (event) => this.onopen?.(event);
    this.#source.onerror = (event) => this.onerror?.(event);
    this.#names.forEach((name) => this.#forward(name));
  }

  #forward(name) {
    this.#source.addEventListener(name, (event) => {
      this.dispatchEvent(new MessageEvent(name, { data: event.data, lastEventId: event.lastEventId }));
    });
  }
}
htmx.createEventSource = (url) => new SightedSource(url);

// Neighbouring images by the arrow keys, where nobody is typing.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`.neighbours a[rel="${rel}"]`);
  if (link) link.click();
});
