"use strict";

// A connection for events that is given up while its page is out of sight: a browser has only a
// few for each server, and who comes back gets the whole state at once.
class SightedSource extends EventTarget {
  static HIDDEN_MS = 5000;
  static LONGEST_MS = 60000;
  #url;
  #source;
  #names = new Set();
  #timer;
  #pause = 1000;

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
    this.watch();
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
    this.#source.onopen = (event) => { this.#pause = 1000; this.onopen?.(event); };
    // A connection that is lost the browser takes up again by itself; not one that was refused.
    this.#source.onerror = () => {
      if (this.readyState !== EventSource.CLOSED) return;
      this.#timer = setTimeout(() => { if (!document.hidden) this.#open(); }, this.#pause);
      this.#pause = Math.min(2 * this.#pause, SightedSource.LONGEST_MS);
    };
    this.#names.forEach((name) => this.#forward(name));
  }

  #forward(name) {
    this.#source.addEventListener(name, (event) => {
      this.dispatchEvent(new MessageEvent(name, { data: event.data, lastEventId: event.lastEventId }));
    });
  }
}
htmx.createEventSource = (url) => new SightedSource(url);

// The page of a batch whose prompts were not read yet has more on it when they are.
document.addEventListener("htmx:sseMessage", () => {
  const isUnread = document.querySelector("[data-unread]");
  if (isUnread && !document.querySelector("#live :is(.state-validating, .state-cancelled)")) location.reload();
});

// Neighbouring images by the arrow keys, where nobody is typing.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`.neighbours a[rel="${rel}"]`);
  if (link) link.click();
});
