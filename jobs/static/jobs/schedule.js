"use strict";
// The schedule page: shows the fields of the chosen kind, and asks the server what the form would do.
document.addEventListener("DOMContentLoaded", () => {
  const panel = document.getElementById("jw-preview");
  if (!panel) return;
  const form = panel.closest("form");
  const say = (id, text) => { panel.querySelector(id).textContent = text; };

  const show = () => {
    const kind = form.querySelector("input[name=kind]:checked")?.value;
    for (const row of form.querySelectorAll("[data-kinds]")) {
      row.hidden = !row.dataset.kinds.split(" ").includes(kind);
    }
    const words = (form.elements.cron?.value || "").trim().split(/\s+/);
    const both = words.length === 5 && !words[2].startsWith("*") && !words[4].startsWith("*");
    const match = form.querySelector("[data-name=day_match]");
    if (match) match.hidden = kind !== "cron" || !(both || match.querySelector(".errors"));
  };

  const render = (found) => {
    say("#jw-says", found.ok ? found.description : found.problem);
    panel.querySelector("#jw-says").classList.toggle("jw-warn", !found.ok);
    say("#jw-zone", found.ok ? (found.zone === "UTC" ? "Next runs in UTC" : `Next runs in ${found.zone}, and in UTC`) + (found.jitter ? "; jitter comes on top" : "") : "");
    const list = panel.querySelector(".jw-runs");
    list.replaceChildren(...found.runs.map((run) => {
      const row = document.createElement("div");
      const cells = [["b", run.local + " " + run.offset], ["span", run.relative, "jw-r"],
                     ["small", (found.zone === "UTC" ? "" : run.utc + " UTC ") + run.note], ["small", ""]];
      for (const [tag, text, look] of cells) {
        const cell = document.createElement(tag);
        cell.textContent = text;
        if (look) cell.className = look;
        row.append(cell);
      }
      return row;
    }));
    panel.dataset.state = found.ok ? "ok" : "problem";
  };

  let timer = 0, latest = 0;
  const ask = async () => {
    const number = ++latest;
    panel.classList.add("busy");
    try {
      const answer = await fetch(panel.dataset.url, { method: "POST", body: new FormData(form), credentials: "same-origin" });
      if (number === latest && answer.ok) render(await answer.json());
    } catch (_) { /* the next change asks again */ }
    if (number === latest) panel.classList.remove("busy");
  };
  const soon = () => { show(); clearTimeout(timer); timer = setTimeout(ask, 250); };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  if (window.django?.jQuery) django.jQuery(form).on("select2:select", "select", soon);
  show();
  if (form.elements.cron.value || form.elements.schedule.value || form.querySelector(".errors")) ask();
});
