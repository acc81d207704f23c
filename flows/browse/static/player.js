"use strict";
// Two sounds on one clock, over notes that are drawn: a segment's recording and transcription, or two transcriptions.
const byId = (id) => document.getElementById(id);
const LONG_S = 600, ROLL_HEIGHT = 352, PEDAL_LANES = { 64: [6, "#7fd1ae"], 66: [26, "#d1b37f"], 67: [46, "#b07fd1"] };
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
    } else document.querySelector(`#review [data-key="${CSS.escape(event.key)}"]`)?.click();
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

async function startSegment(section) {
  const data = await notesOf(section);
  if (!data) return;
  drawScores(byId("scores"), data.scores, [[data.start_s, data.end_s]]);
  const canvas = byId("roll"), drawing = layer(canvas), picture = new Image();
  const xOf = (seconds) => seconds / data.duration_s * canvas.width;
  function draw() {
    const paint = drawing.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, drawing.width, drawing.height);
    if (picture.naturalWidth) { paint.globalAlpha = 0.55; paint.drawImage(picture, 0, 0, drawing.width, ROLL_HEIGHT); paint.globalAlpha = 1; }
    for (const [on, off, pitch, velocity] of data.notes) {
      paint.fillStyle = ofVelocity(velocity);
      paint.fillRect(xOf(on), ROLL_HEIGHT * (108 - pitch) / 88, Math.max(1.5, xOf(off - on)), 4);
    }
    for (const [on, off, controller] of data.pedals) {
      const [top, colour] = PEDAL_LANES[controller] || [];
      paint.fillStyle = colour;
      if (colour) paint.fillRect(xOf(on), ROLL_HEIGHT + top, Math.max(1.5, xOf(off - on)), 14);
    }
  }
  draw();
  const plain = (id) => ({ element: byId(id), to: (clock) => clock, from: (time) => time });
  const player = makePlayer({ recording: plain("recording"), notes: plain("notes") }, data.duration_s, (clock) => cursor(canvas, drawing, xOf(clock)));
  onClick(canvas, data.duration_s, player.jump);
  let isCoarse = data.duration_s > LONG_S; // of a long span, a coarse picture comes first
  picture.addEventListener("load", () => {
    draw();
    player.show();
    canvas.dataset.drawn = isCoarse ? "with a coarse spectrogram" : "with its spectrogram";
    if (isCoarse) { isCoarse = false; picture.src = section.dataset.picture; }
  });
  picture.addEventListener("error", () => { canvas.dataset.drawn = "without its spectrogram"; });
  canvas.dataset.drawn = "notes";
  picture.src = section.dataset.picture + (isCoarse ? "&coarse=1" : "");
}

async function startCopies(section) {
  const data = await notesOf(section);
  if (!data) return;
  byId("alignment").textContent = data.num_matched
    ? `${data.num_pairs} notes have a counterpart, ${data.one.length - data.num_pairs} of the upper and ${data.other.length - data.num_pairs} of the lower have none (red); agreement ${data.agreement.toFixed(3)}, the lower begins ${(-data.offset_s).toFixed(2)} s later, its tempo is ${(1 / data.tempo).toFixed(4)} of the upper's.`
    : "The two share too little to be aligned: each is on its own clock.";
  const to = (clock) => data.tempo * clock + data.offset_s, from = (time) => (time - data.offset_s) / data.tempo;
  const start = Math.min(0, from(0)), end = Math.max(data.one_s, from(data.other_s)), drawings = [];
  const xOf = (clock, canvas) => (clock - start) / (end - start) * canvas.width;
  for (const [name, ofClock] of [["one", (time) => time], ["other", from]]) {
    const canvas = byId(`roll-${name}`), drawing = layer(canvas), paint = drawing.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, drawing.width, drawing.height);
    for (const [on, off, pitch, velocity, hasCounterpart] of data[name]) {
      paint.fillStyle = hasCounterpart || !data.num_matched ? ofVelocity(velocity) : "#ff5555";
      const left = xOf(ofClock(on), canvas);
      paint.fillRect(left, drawing.height * (108 - pitch) / 88, Math.max(1.5, xOf(ofClock(off), canvas) - left), hasCounterpart ? 3 : 5);
    }
    drawings.push([canvas, drawing]);
    canvas.dataset.drawn = "notes";
  }
  const sounds = { one: { element: byId("one"), to: (clock) => clock, from: (time) => time }, other: { element: byId("other"), to, from } };
  const player = makePlayer(sounds, end, (clock) => drawings.forEach(([canvas, drawing]) => cursor(canvas, drawing, xOf(clock, canvas))));
  for (const [canvas] of drawings) onClick(canvas, end - start, (seconds) => player.jump(seconds + start));
}
if (byId("player")) startSegment(byId("player"));
if (byId("copies")) startCopies(byId("copies"));
