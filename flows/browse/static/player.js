"use strict";
// Two sounds on one clock, over notes that are drawn: a segment's recording and transcription (roll.js), or two
// transcriptions (copies.js).
const byId = (id) => document.getElementById(id);
const ofVelocity = (velocity) => `hsl(${200 - velocity * 1.4} 90% ${45 + velocity / 5}%)`;
const isAway = "This sound cannot be played: the recording may be away.";

// `sounds`: name -> { element, to(clock), from(its time) }; `draw(seconds)` shows where the clock is
function makePlayer(sounds, duration, draw) {
  const said = byId("said"), button = byId("play");
  let position = 0;
  const chosen = () => document.querySelector("input[name=sound]:checked").value;
  const playing = () => chosen() === "both" ? Object.values(sounds) : [sounds[chosen()]];
  const isPlaying = () => playing().some((sound) => !sound.element.paused);
  const clock = () => isPlaying() ? playing()[0].from(playing()[0].element.currentTime) : position;
  function show() {
    draw(clock());
    byId("clock").textContent = `${clock().toFixed(1)} s`;
    if (isPlaying()) requestAnimationFrame(show);
  }
  function stop() { Object.values(sounds).forEach((sound) => sound.element.pause()); button.textContent = "play"; }
  async function play() {
    stop();
    [said.textContent, button.textContent] = ["", "pause"];
    try {
      await Promise.all(playing().map((sound) => { sound.element.currentTime = Math.max(0, sound.to(position)); return sound.element.play(); }));
    } catch (error) {
      if (error.name !== "AbortError") { stop(); said.textContent = isAway; }
    }
    show();
  }
  function pause() { position = clock(); stop(); show(); }
  function jump(seconds) { const was = isPlaying(); stop(); position = Math.min(Math.max(seconds, 0), duration); if (was) play(); else show(); }
  button.addEventListener("click", () => isPlaying() ? pause() : play());
  document.querySelectorAll("input[name=sound]").forEach((each) => each.addEventListener("change", () => {
    const others = Object.values(sounds).filter((sound) => !sound.element.paused);
    if (others.length) { position = others[0].from(others[0].element.currentTime); play(); } else show();
  }));
  Object.values(sounds).forEach(({ element }) => element.addEventListener("ended", () => { if (!isPlaying()) { position = 0; button.textContent = "play"; show(); } }));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio]):not([type=checkbox]), select")) return;
    const by = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (event.key === " " && !event.target.matches("button, input, summary, a")) { event.preventDefault(); button.click(); }
    else if (by && !event.target.matches("input[type=radio]")) { event.preventDefault(); jump(clock() + by); }
    else if (event.key === "a") {
      const all = [...document.querySelectorAll("input[name=sound]")], next = all[(all.findIndex((each) => each.checked) + 1) % all.length];
      next.click();
    } else document.querySelector(`main [data-key="${CSS.escape(event.key)}"]`)?.click();
  });
  show();
  return { jump, show };
}
function onClick(canvas, duration, jump) {
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    jump((event.clientX - box.left) / box.width * duration);
  });
}
async function notesOf(section) {
  const answer = await fetch(section.dataset.notes);
  if (!answer.ok) { byId("said").textContent = "The notes cannot be read."; return null; }
  return answer.json();
}
function cursor(canvas, drawing, x) {
  const context = canvas.getContext("2d");
  context.drawImage(drawing, 0, 0);
  context.fillStyle = "#fff";
  context.fillRect(x, 0, 2, canvas.height);
}
const layer = (canvas) => Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
