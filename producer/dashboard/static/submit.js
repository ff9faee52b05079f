"use strict";

// The form of a new batch: a file is sent as it is, with a bar that shows how far it is.
(() => {
  const form = document.querySelector("form[data-upload]");
  if (!form) return;
  const find = (selector) => form.querySelector(selector);
  const [prompts, file, fileId, button] = [
    find("#prompts"), find("#file"), find("[name=file_id]"), find("button.primary"),
  ];
  const [zone, bar, progress, sent, failed] = [
    find("[data-drop]"), find("[data-progress]"), find("progress"), find("[data-sent]"), find("[data-failed]"),
  ];
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  find("[data-scripted]").hidden = false;

  for (const name of ["dragover", "drop", "dragleave"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length === 1) {
        file.files = event.dataTransfer.files;
        file.dispatchEvent(new Event("change"));
      }
    });
  }

  const check = () => {
    const both = file.files.length && prompts.value.trim();
    file.setCustomValidity(both ? "Prompts are pasted and a file is chosen: give only one." : "");
  };
  file.addEventListener("change", check);
  prompts.addEventListener("input", check);
  // A browser that comes back to this page has kept what was typed.
  addEventListener("pageshow", check);

  const fail = (message) => {
    bar.hidden = true;
    button.disabled = false;
    failed.textContent = message;
    failed.hidden = !message;
  };

  const refusal = (request) => {
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    return page.body.textContent.trim() || "The server did not take the file.";
  };

  form.addEventListener("submit", (event) => {
    const chosen = file.files[0];
    if (!chosen) return;
    event.preventDefault();
    fail("");
    button.disabled = true;
    bar.hidden = false;
    const request = new XMLHttpRequest();
    request.open("POST", `${form.dataset.upload}?name=${encodeURIComponent(chosen.name.slice(-256))}`);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.setRequestHeader("HX-Request", "true");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      progress.value = total ? loaded / total : 1;
      sent.textContent = `${Math.floor(100 * progress.value)} %`;
    });
    request.addEventListener("load", () => {
      const elsewhere = request.getResponseHeader("HX-Redirect");
      if (elsewhere) location.assign(elsewhere);
      else if (request.status !== 200) fail(refusal(request));
      else {
        fileId.value = JSON.parse(request.responseText).file_id;
        file.value = "";
        form.submit();
      }
    });
    request.addEventListener("error", () => fail("The connection was lost. Nothing was submitted; try again."));
    request.addEventListener("abort", () => fail("Stopped. Nothing was submitted."));
    find("[data-stop]").onclick = () => request.abort();
    request.send(chosen);
  });
})();

// A button that was pressed is pressed once, until the page is shown again.
(() => {
  const once = document.querySelector("form[data-once]");
  if (!once) return;
  const button = once.querySelector("button");
  once.addEventListener("submit", () => setTimeout(() => { button.disabled = true; }));
  addEventListener("pageshow", () => { button.disabled = false; });
})();
