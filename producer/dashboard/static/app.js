"use strict";

// Neighbouring images by the arrow keys, where nobody is typing.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`.neighbours a[rel="${rel}"]`);
  if (link) link.click();
});

// A connection that is cut off is not the server's last word: browsers connect again by themselves.
document.addEventListener("htmx:sseError", (event) => event.stopPropagation());
