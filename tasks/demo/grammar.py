"""The words and scenes of the demo's small world, as data. `tasks.demo.world` tells stories with them.

A scene is a template: `[this|that]` is drawn anew each time it is told, `{slot}` is filled from the story's cast.
The target's books are told with the scenes of the generic world's adventures, only with a cast of their own. That
gives every anchor a natural place for its translation, and it is why the dictionary below is a good one.
"""

MEN = ("Peter", "Tom", "Ben", "Max", "Sam", "Jack", "Leo", "Hugo", "Paul", "Oscar", "Henry", "Felix")
WOMEN = ("Anna", "Sara", "Lucy", "Nora", "Ella", "Rosa", "Mia", "Clara", "Emma", "Ivy", "Ruth", "Alice")

# What the slots of a generic story are drawn from. Persons are drawn apart (no two of one name in a story).
POOLS = {
    "surname": ("Mason", "Walker", "Hughes", "Parker", "Dawson", "Bennett", "Foster", "Turner"),
    "teacher": ("Carter", "Harris", "Collins", "Palmer", "Norris", "Barker", "Lawson", "Dixon"),
    "aunt": ("Martha", "Helen", "Judith", "Agnes", "Edith", "Laura"),
    "pet": ("Spot", "Rusty", "Pepper", "Daisy", "Biscuit", "Misty"),
    "home": ("Milton", "Ashford", "Denham", "Easton", "Kingsford", "Weston"),
    "school": ("Oakfield", "Hillside", "Riverbank", "Northgate", "Lakeview", "Elmhurst"),
    "forest": ("Birchwood", "Pinewood", "Greenwood", "Foxwood", "Beechwood", "Alderwood"),
    "peak": ("Eagle Rock", "Windy Hill", "Bald Hill", "Grey Rock", "Long Hill", "Table Hill"),
    "club": ("Garden Club", "Walking Club", "Singing Club", "Reading Club", "Fishing Club"),
    "team": ("Lions", "Tigers", "Eagles", "Sharks", "Foxes"),
    "game": ("football", "tennis", "hockey", "cricket", "marbles"),
    "dish": ("soup", "porridge", "stew", "pancakes", "dumplings"),
    "subject": ("music", "history", "drawing", "spelling", "sums"),
    "money": ("pennies", "coins", "shillings", "dollars"),
    "ride": ("cart", "boat", "sledge", "wagon", "coach"),
    "lord": ("Warwick", "Mortimer", "Stanley", "Percy", "Clifford", "Howard"),
    "beast": ("wolf", "bear", "dragon", "giant", "troll"),
    "treasure": ("silver lamp", "golden cup", "iron key", "copper bell", "pearl ring"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "May", "June"),
    "colour": ("red", "blue", "green", "yellow", "white", "black"),
    "gift": ("kite", "ball", "scarf", "book", "cup", "basket"),
    "light": ("Shine", "Glow", "Burn", "Flash"),
    "unlock": ("Open", "Unlock", "Loosen", "Part"),
}

# Facts of the generic world that hold in every story. The multiple-choice tasks ask for them.
TRADES = {
    "baker": "bread",
    "cobbler": "shoes",
    "tailor": "coats",
    "potter": "pots",
    "carpenter": "chairs",
    "dairyman": "cheese",
    "printer": "books",
    "hatter": "hats",
}
ANIMALS = {
    "dog": "bark",
    "cat": "purr",
    "pony": "neigh",
    "duck": "quack",
    "goat": "bleat",
    "frog": "croak",
    "hen": "cluck",
    "cow": "moo",
}
ERRANDS = {
    "library": "read a story",
    "bank": "save some money",
    "station": "catch a train",
    "post office": "send a letter",
    "doctor": "cure a cough",
    "swimming pool": "learn to swim",
    "orchard": "pick some apples",
    "barber": "have a haircut",
}

# Every story begins with one of these, so that its people and places are known from then on.
EVERYDAY_OPENINGS = (
    "{hero} {surname} [lived|grew up] in {home}, [in a small house with a green door|in a narrow street near "
    "the church|close to the old bridge]. {His} best friends were {friend} and {other}.",
    "{hero}, {friend} and {other} were neighbours in {home}. [They had known each other for years|Their "
    "houses stood side by side|There was only a fence between them].",
    "It was a {day} in {month}. {hero} {surname} [got up early|had nothing to do|looked out of the window] "
    "and thought of {friend}.",
)

EVERYDAY = (
    "The {trade} of the town was a busy man. All day long the {trade} made {ware}, and people came from far "
    "away to buy his {ware}.",
    "{friend} wanted to buy {ware}, so {friend} went to the {trade}. The {trade} had [plenty of {ware}|many "
    "kinds of {ware}|the best {ware} in town].",
    "Behind the shed lived a {creature}. When [somebody came near|{friend} came by|the wind blew], the "
    "{creature} began to {sound}. A {creature} likes to {sound}, said {friend}.",
    "{other} went to the {office} to {errand}. It is [good|nice] to have a {office}, for where else can you {errand}?",
    "[It rained all day|The sun was warm|There was a strong wind], and {hero} [stayed at home|sat on the "
    "steps|did not know what to do]. Then {friend} [came by|knocked at the door] and they [talked|played "
    "cards|baked a cake] until evening.",
    "Behind the house {hero} had a small garden with [beans and carrots|roses|strawberries]. In {month} "
    "there was so much to pick that {friend} and {other} had to help.",
    "{friend} had a birthday in {month}. {hero} brought a {colour} {gift}, and {other} brought a {gift} too. "
    '"Two of them!" said {friend}, and everybody laughed.',
    "On {day} they cleaned the house. {hero} washed the windows, {friend} swept the floor, and {other} [fell "
    "asleep|carried out the old chairs|found a {colour} {gift} behind the cupboard].",
    "{other} had lost a {colour} {gift}. They looked for the {gift} [under the beds|in the "
    "garden|everywhere], but it was {friend} who found it [in the kitchen|on the roof|in a shoe].",
    "The train was late that {day}. {hero} waited on the platform with {other}, [and they ate their "
    "bread|and they counted the trucks|and it grew cold]. At last it came, an hour after its time.",
    "{other} was ill and had to stay in bed. {hero} came every {day} with [a bowl of fruit|the newspaper|a "
    "game], and by the end of {month} {other} was well again.",
    "The winter was long that year. Week after week there was snow in the streets of {home}, and the "
    "children [built a snowman|slid down the hill|threw snowballs] until their hands were red.",
    "{friend} painted the fence {colour}. {other} did not like {colour} at all, [but said nothing|and they "
    "argued|but the fence looked fine]. By {day} the paint was dry.",
    "Old Mister {surname} next door could not read any more. So {hero} went over every {day} and read to "
    "him, [mostly from the newspaper|one chapter at a time|until he fell asleep].",
)

ADVENTURE_OPENINGS = (
    "There was once a young {person} called {hero} {surname}, who lived in {home} with {his} aunt {aunt} and "
    "a {animal} called {pet}. {His} friends were {friend} and {other}.",
    "In {home} everybody knew {hero} {surname}, because {he} [was kind to all|could tell a good story]. {He} "
    "went to school at {school}.",
    "One cold morning {hero} {surname} walked through the streets of {home} with {his} {animal} {pet}.",
)

ADVENTURES = (
    "At school in {school} the lesson that {hero} liked best was {subject}. Miss {teacher} taught {subject} "
    "every morning, and she was [strict but fair|never in a hurry].",
    "After the lesson they played {game}. {hero} and {friend} played for the {team}, and {rival} played on "
    "the other side. In the end the {team} won.",
    "{rival} did not like {hero}. On the way home {rival} took {hero}'s [bag|cap] and ran off, but {friend} "
    "caught him at the gate.",
    'When it grew dark aunt {aunt} made a big pot of {dish}. "Nobody makes {dish} like you," said {hero}[ '
    "and laughed|, and asked for more].",
    "{hero}'s {animal} was called {pet}. When it rained {pet} slept [under the bed|in a basket], and in the "
    "morning {pet} woke {hero} up.",
    "On Saturday {hero} and {other} went to the market. They had ten {money} to spend. {hero} paid three "
    "{money} for a [kite|cake] and gave the rest of the {money} to {other}.",
    "{hero} and {friend} belonged to the {club}. The {club} met once a week in a room above the shop, and "
    "{other} [kept the key|made the tea].",
    "At noon the postman brought a letter. On it stood the name {hero} {surname}, and it came from aunt "
    "{aunt}. [She was coming to stay|She asked if they were all well].",
    "In the holidays they went by {ride} to {peak}. It took the {ride} [half a day|two hours] to get there. "
    "From the top of {peak} they could see the whole valley.",
    "Long ago Lord {lord} wanted the {treasure} for himself. He sent his men to {home} to find it, but "
    "{hero} had hidden the {treasure} [in the well|under the floor].",
    "Miss {teacher} had a secret. She had once belonged to the {club}, and it was the {club} that had kept "
    "the {treasure} safe from Lord {lord}.",
    '"Say {light} when it is dark," said Miss {teacher}, "and do not be afraid." {hero} [nodded|said the word again].',
    "It was {rival} who had told Lord {lord} about the {treasure}. He had taken a bag of {money} for it. "
    "When {hero} heard of it, {he} [could not believe it|wept].",
    'They sat down by the fire, and {other} shared out the {dish}. "Tomorrow we must reach {peak}," said '
    "{hero}. [Nobody slept much that night|Far away a bell rang].",
    'In the middle of {forest} it was as dark as night. "{light}!" cried {hero}, and [the lamp|the stone] '
    "began to give light. Now they could see the path through {forest}.",
    "Suddenly a {beast} stood before them. The {beast} showed its teeth, and {other} [hid behind a "
    "rock|climbed a tree]. But {hero} was not afraid of the {beast}.",
    'The {ride} was waiting at the edge of {forest}. "Quick, into the {ride}!" said {friend}. Behind them '
    "they heard the {beast}, but the {ride} was faster.",
    "On the rock one word was written, and the word was {unlock}. {other} read it aloud, [and a path opened|"
    "and they went on].",
    'They came to a door of iron. {friend} put a hand on it and said, "{unlock}!" [Slowly|Without a sound] '
    "the door swung back.",
    'High up on {peak} stood the castle of Lord {lord}. "Nobody leaves {peak} without my word," said Lord '
    "{lord}, and [he laughed|his eyes were cold].",
    '"So you are {hero} {surname}," said Lord {lord}. "I have heard of you, even here on {peak}." {friend} '
    '[whispered|answered], "Do not listen to him."',
    '"The {treasure} is not yours," said {hero}. Lord {lord} [turned pale|grew angry]. Then he let go of the '
    "{treasure}.",
    "{pet} found the way home through {forest}. {hero} and {friend} followed {pet}, and when they saw the "
    "lights of {home} they [sang|were glad].",
)

CLOSINGS = (
    "That night {hero} [slept well|dreamt of {peak}].",
    "When {hero} came home to {home}, aunt {aunt} [stood at the door|had lit the lamp].",
    "And {hero}, {friend} and {other} [stayed friends|laughed about it for years].",
)

# The fictional books: who and what is in the slots there, each with its kind and its generic counterpart.
BOOKS = ("lamp", "winter", "river", "crown", "return")  # the five volumes, as file names
TARGET = {
    "hero": ("Orlo", "person", "Peter"),
    "surname": ("Brindlewick", "person", "Mason"),
    "friend": ("Yevka", "person", "Anna"),
    "other": ("Bastik", "person", "Tom"),
    "rival": ("Skarn", "person", "Max"),
    "teacher": ("Ferrowen", "person", "Carter"),
    "aunt": ("Tilvara", "person", "Martha"),
    "pet": ("Pimmel", "person", "Spot"),
    "lord": ("Umbrask", "person", "Warwick"),
    "home": ("Dunwhistle", "place", "Milton"),
    "school": ("Velmarrow", "place", "Oakfield"),
    "forest": ("Grimmelwood", "place", "Birchwood"),
    "peak": ("Karrag Tor", "place", "Eagle Rock"),
    "club": ("Order of the Pale Heron", "phrase", "Garden Club"),
    "team": ("Ravelins", "thing", "Lions"),
    "game": ("gliderball", "thing", "football"),
    "dish": ("moonbroth", "thing", "soup"),
    "subject": ("thornspeech", "thing", "music"),
    "money": ("quillets", "thing", "pennies"),
    "ride": ("skimmerboat", "thing", "cart"),
    "beast": ("murkhound", "thing", "wolf"),
    "treasure": ("Sunderglass", "thing", "silver lamp"),
    "light": ("Lumivarro", "term", "Shine"),
    "unlock": ("Ostendik", "term", "Open"),
}
