"use strict";

// A grid of tens of thousands of images: pages of a hundred, of which only those near the window
// are in the document. The others are as tall as they were, and come back when they are scrolled to.
(() => {
  const grid = document.querySelector("[data-grid]");
  if (!grid) return;
  const NEAR = "1500px 0px";
  const PAGE = 100;
  const kept = new WeakMap();

  const parse = (html) => new DOMParser().parseFromString(html, "text/html").body;

  const empty = (list) => {
    kept.set(list, [...list.childNodes]);
    list.style.height = `${list.offsetHeight}px`;
    list.replaceChildren();
  };
  const fill = (list) => {
    list.append(...kept.get(list));
    list.style.height = "";
    kept.delete(list);
    paginate(list);
  };
  const columns = (list) => getComputedStyle(list).gridTemplateColumns.split(" ").length;

  const newPage = () => {
    const list = document.createElement("ol");
    list.className = "tiles";
    seen.observe(list);
    return list;
  };
  // Where new images arrive for hours, the oldest of them go to pages of their own, in full rows.
  const paginate = (list) => {
    while (list.childElementCount >= 2 * PAGE) {
      const page = newPage();
      page.append(...[...list.children].slice(-(PAGE - PAGE % columns(list))));
      list.after(page);
    }
  };
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && kept.has(target)) fill(target);
      else if (!isIntersecting && !kept.has(target) && target.childElementCount) empty(target);
    }
  }, { rootMargin: NEAR });

  const end = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) older(target);
  }, { rootMargin: NEAR });

  const watchPages = () => grid.querySelectorAll(".tiles").forEach((list) => seen.observe(list));

  const watchMore = () => {
    const link = grid.querySelector("[data-more]");
    if (link) end.observe(link);
  };

  const older = async (link) => {
    end.unobserve(link);
    const before = new URL(link.href).searchParams.get("before");
    const answer = await fetch(`${grid.dataset.grid}?before=${encodeURIComponent(before)}`).catch(() => null);
    if (!answer?.ok) return;
    const page = parse(await answer.text());
    // A row that is not full goes to the next page: there are no gaps between pages.
    const last = [...grid.querySelectorAll(".tiles")].at(-1);
    const odd = last.childElementCount % columns(last);
    if (odd) page.querySelector(".tiles").prepend(...[...last.children].slice(-odd));
    link.parentElement.replaceWith(...page.childNodes);
    watchPages();
    watchMore();
  };

  // What has been drawn since the page was loaded has a place of its own on top.
  // Tells whether there may be more of it: it comes a page at a time, too.
  const newer = async () => {
    const after = grid.dataset.newest;
    const url = after ? `${grid.dataset.grid}?after=${encodeURIComponent(after)}` : grid.dataset.grid;
    const answer = await fetch(url).catch(() => null);
    if (!answer?.ok) return false;
    const page = parse(await answer.text());
    const list = page.querySelector(".tiles");
    if (!list?.dataset.newest) return false;
    grid.dataset.newest = list.dataset.newest;
    if (!after) {
      grid.replaceChildren(...page.childNodes);
      watchPages();
      watchMore();
      return false;
    }
    const isFull = list.childElementCount >= PAGE;
    let fresh = grid.querySelector(".fresh");
    if (!fresh) {
      const title = document.createElement("h3");
      title.textContent = "Since this page was opened";
      fresh = newPage();
      fresh.classList.add("fresh");
      const earlier = document.createElement("h3");
      earlier.textContent = "Before";
      grid.prepend(title, fresh, earlier);
    }
    if (kept.has(fresh)) kept.get(fresh).unshift(...list.children);
    else fresh.prepend(...list.children);
    paginate(fresh);
    return isFull;
  };

  let busy = false;
  document.addEventListener("htmx:sseMessage", async (event) => {
    if (event.detail.type !== "progress" || busy || document.hidden) return;
    busy = true;
    try { while (await newer()); } finally { busy = false; }
  });

  watchPages();
  watchMore();
})();
